"""Name the ports of containers and Services, which users and dashboards refer to."""

from typing import Final

DATA_PORT_NAME: Final = "redis"
ADMIN_PORT_NAME: Final = "admin"
MEMCACHED_PORT_NAME: Final = "memcached"
