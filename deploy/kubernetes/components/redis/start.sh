# The password comes by the environment and goes in by stdin: in no file, and in no list of processes.
if [ "${#REDISCLI_AUTH}" -lt 16 ]; then
  echo "redis-password needs at least 16 characters" >&2
  exit 1
fi
exec redis-server /etc/redis/redis.conf - <<END
appendonly $APPENDONLY
requirepass "$REDISCLI_AUTH"
END
