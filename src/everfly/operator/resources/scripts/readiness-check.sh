#!/bin/sh
# Ready: has its whole dataset in memory.
# The admin port asks for neither TLS nor a password.
redis-cli -h localhost -p "${HEALTHCHECK_PORT:-9999}" INFO persistence 2>/dev/null |
  grep -q '^loading:0'
