# Before it is told to stop: a primary that feeds replicas waits until it has handed over, which is
# seen by its role or by its end. SIGTERM comes after this. Needs sh and nc, as the image's own
# health check does; the admin port asks for neither TLS nor a password.
end=$(($(date +%s) + WAIT_S))
while [ "$(date +%s)" -lt "$end" ]; do
  said=$(printf 'INFO REPLICATION\r\nQUIT\r\n' | nc -w 1 localhost ADMIN_PORT)
  case "$said" in
    *role:master*connected_slaves:0*) exit 0 ;;
    *role:master*) sleep 0.1 || sleep 1 ;;
    *) exit 0 ;;
  esac
done
