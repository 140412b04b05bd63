# The first program of a device: $1 is a folder with `upper` and `work`, $2 the Debian below, $3 where cargo put our programs.
set -e
mount --make-rprivate /
R=$1/root
mkdir "$R"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$R"
# Others' programs that this Debian lacks, with their libraries: both are of the same release.
for program in nft miniupnpd; do
    from=$(command -v $program)
    cp "$from" "$R/usr/sbin/"
    ldd "$from" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
        [ -e "$R/usr/lib/x86_64-linux-gnu/${library##*/}" ] || cp -L "$library" "$R/usr/lib/x86_64-linux-gnu/"
    done
done
mkdir -p "$R/media/stick"
for program in stockade-agent stockade-helper stockade-keys; do
    touch "$R/media/stick/$program"
    mount --bind "$3/$program" "$R/media/stick/$program"
done
mount -t proc proc "$R/proc"
# The kernel is this machine's: the device may not set it.
mount --bind "$R/proc/sys/kernel" "$R/proc/sys/kernel"
mount -o remount,bind,ro "$R/proc/sys/kernel"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs tmpfs "$R/run"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for device in null zero full random urandom tty; do touch "$R/dev/$device"; mount --bind "/dev/$device" "$R/dev/$device"; done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
cd "$R"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec env -i container=stockade PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
