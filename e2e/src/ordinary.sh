# Makes this process an ordinary user of the machine, and executes what the arguments say. It runs as root in a mount
# namespace of its own, which has all that is made here and goes with the last process in it.
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
cd /mnt
mkdir programs scenarios cache home tools upper work
chown 1000:1000 cache home
# The checkout may be where nobody else may go.
mount --bind "$OPENSHELL_E2E_PROGRAMS" programs
mount --bind "$OPENSHELL_E2E_SCENARIOS" scenarios

# The machine's own files of users stay as they are.
mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work overlay /etc
grep -q '^[^:]*:[^:]*:1000:' /etc/passwd || echo 'ordinary:x:1000:1000::/mnt/home:/bin/sh' >>/etc/passwd
: >/etc/subuid
: >/etc/subgid
case $OPENSHELL_E2E_IDS in
both) echo 1000:2131755008:65536 | tee /etc/subuid >/etc/subgid ;;
users-only) echo 1000:2131755008:65536 >/etc/subuid ;;
few) echo 1000:2131755008:1000 | tee /etc/subuid >/etc/subgid ;;
esac

stand_in() {
  for tool in newuidmap newgidmap; do
    cp programs/idmapper "tools/$tool"
    chmod "$1" "tools/$tool"
  done
}
case $OPENSHELL_E2E_TOOLS in
# The machine's own where it has them.
there) command -v newuidmap >/dev/null || stand_in 4755 ;;
powerless) stand_in 755 ;;
missing)
  for tool in newuidmap newgidmap; do
    for folder in /usr/local/bin /usr/bin /usr/sbin /bin /sbin; do
      [ ! -e "$folder/$tool" ] || mount --bind /dev/null "$folder/$tool"
    done
  done
  ;;
esac

set -- PATH=/mnt/tools:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/mnt/home OPENSHELL_HARNESS_CACHE=/mnt/cache "$@"
user='setpriv --reuid 1000 --regid 1000 --clear-groups env -i'
if [ "$OPENSHELL_E2E_IMAGE" = yes ]; then
  # shellcheck disable=SC2086 # words without spaces
  programs/openshell-harness image export </dev/null |
    $user "$1" "$2" "$3" programs/openshell-harness image import 2>&1
fi
# shellcheck disable=SC2086
exec $user "$@"
