# A machine that has an engine and firewall tools of its own, whatever this one has: this one's files, with the programs of an image
# over them, in a mount namespace and in memory. Nothing of the machine is changed.
#
#   machine.sh FOLDER ROOTFS PROGRAMS COMMAND...
#
# Where it has run COMMAND there, it says whether what the machine had is as it was.
set -e
folder=$1 rootfs=$2 programs=$3
shift 3
mount -t tmpfs tmpfs "$folder"
mkdir -p "$folder/upper/usr" "$folder/work" "$folder/root"
cp -a "$rootfs/usr/." "$folder/upper/usr/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
mkdir -p "$root/etc/alternatives"
cp -a "$rootfs/etc/alternatives/." "$root/etc/alternatives/"
mkdir -p "$root/opt/programs"
cp "$programs/openshell-harness" "$programs/openshell-probe" "$root/opt/programs/"
echo "of the machine" >"$root/usr/local/marker"
echo "of its root" >"$root/root/secret"
for path in proc sys dev run tmp; do mount --rbind "/$path" "$root/$path"; done
cd /
code=0
program=$1
shift
chroot "$root" "/opt/programs/$program" "$@" || code=$?
cat "$root/usr/local/marker" "$root/root/secret"
[ ! -e "$root/usr/local/new" ] && echo "nothing new"
exit "$code"
