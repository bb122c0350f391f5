#!/bin/sh
# A shell probe as many have one: `nc` in a container on the sandboxes' network. It asks for what NemoClaw's probe of
# #3459 asked, and says what that said: 0 reachable, 1 not reachable, 3 it could not tell.
#
#   nc.sh NETWORK PORT
#
# PROBE_IMAGE is an image whose nc ends as busybox's does: with 0 or 1, and without a word unless a name does not resolve.
network=$1
port=$2
image=${PROBE_IMAGE:-probe:nc}

gateway=$(docker network inspect --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' "$network" 2>/dev/null |
  grep -m 1 '^[0-9]*\.')
if [ -z "$gateway" ]; then
  echo "network $network not found, or it has no IPv4 gateway" >&2
  exit 3
fi

said=$(timeout 15 docker run --rm --network "$network" --add-host "host.openshell.internal:$gateway" "$image" \
  nc -zw5 host.openshell.internal "$port" 2>&1)
case $? in
  0) exit 0 ;;
  1) ;;
  *)
    echo "$said" >&2
    exit 3
    ;;
esac
case $said in
  *"bad address"* | *"not known"* | *"name resolution"*)
    echo "$said" >&2
    exit 3
    ;;
esac
echo "Sandboxes cannot reach $gateway:$port. A host firewall may be blocking them. To allow it:" >&2
echo "  sudo ufw allow from any to $gateway port $port proto tcp" >&2
exit 1
