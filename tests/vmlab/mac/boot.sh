# The first program of a device in a guest: a Debian of its own that boots systemd, with the guest's kernel, and what confines in
# it, in sight. $1 is an empty folder, $2 the Debian below, $3 where cargo put our programs, $4 the test's files.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
R=$1/root
mkdir "$R" "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$R"
# Others' programs that this Debian lacks, with their libraries: both are of the same release.
for program in nft apparmor_parser secilc; do
    from=$(command -v $program) || continue
    cp "$from" "$R/usr/sbin/"
    ldd "$from" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
        [ -e "$R/usr/lib/x86_64-linux-gnu/${library##*/}" ] || cp -L "$library" "$R/usr/lib/x86_64-linux-gnu/"
    done
done
mkdir -p "$R/etc/apparmor.d" "$R/usr/lib/stockade" "$R/etc/stockade/trust" "$R/var/lib/stockade/helper" "$R/srv/camera"
cp -r /etc/apparmor.d/abi /etc/apparmor/parser.conf "$R/etc/apparmor.d/"
for program in stockade stockade-helper; do
    touch "$R/usr/lib/stockade/$program"
    mount --bind "$3/$program" "$R/usr/lib/stockade/$program"
done
cp "$4"/gateway.pub "$R/etc/stockade/trust/"
cp "$4"/agent.toml "$R/etc/stockade/"
cp "$4"/profile.cose "$R/var/lib/stockade/helper/"
cp "$4"/*.service "$R/etc/systemd/system/"
cp "$4"/camera "$R/usr/bin/camera"
chmod 755 "$R/usr/bin/camera"
chmod 700 "$R/var/lib/stockade/helper"
mkdir -p "$R/etc/systemd/system/multi-user.target.wants"
for unit in camera stockade-helper; do
    ln -s "/etc/systemd/system/$unit.service" "$R/etc/systemd/system/multi-user.target.wants/"
done
[ ! -d "$4/selinux" ] || cp -r "$4/selinux" "$R/etc/"
mount -t proc proc "$R/proc"
mount --rbind /sys "$R/sys"
mount -t tmpfs tmpfs "$R/run"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for device in null zero full random urandom tty; do
    touch "$R/dev/$device"
    mount --bind "/dev/$device" "$R/dev/$device"
done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
cd "$R"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec env -i container=stockade PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
