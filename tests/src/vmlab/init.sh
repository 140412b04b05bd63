#!/bin/busybox sh
# The first process of a guest. It makes the host's files its root, then runs the scripts the host names on the second serial port.
# Nothing of one test is in here: the same kernel and command line measure the same.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

if [ ! -e /run/moved ]; then
    /bin/busybox --install -s /bin
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    for module in $(cat /lib/load); do insmod /lib/$module; done
    mkdir -p /ro /rw
    mount -t tmpfs tmpfs /rw
    mkdir -p /rw/upper /rw/work
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=1048576,cache=loose hostroot /ro &&
        mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new || poweroff -f
    for folder in proc sys dev; do mount --move /$folder /new/$folder; done
    mount -t tmpfs -o mode=755 tmpfs /new/run
    cp /bin/busybox /init /new/run
    touch /new/run/moved
    exec switch_root /new /run/busybox sh /run/init
fi

# busybox from memory: the root goes away before the power does.
stop() {
    sync
    for disk in $(grep -o '^/dev/[^ ]* [^ ]*' /proc/mounts | cut -d' ' -f2 | sort -r); do umount "$disk"; done
    sync
    # QEMU ends at a restart too (-no-reboot); without ACPI, as with a TPM and no UEFI, the kernel can not switch itself off.
    exec /run/busybox reboot -f
}
mount -t securityfs securityfs /sys/kernel/security
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /lab /var/lib/stockade /etc/stockade
mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
for folder in /var/lib/stockade /etc/stockade; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576 lab /lab
. /lab/.vm/settings
# The host may have a folder of that name, so a link would not do.
mkdir -p /lib/modules/$(uname -r)
mount --bind $MODULES /lib/modules/$(uname -r)
[ -d /sys/firmware/efi ] && modprobe efivarfs && mount -t efivarfs efivarfs /sys/firmware/efi/efivars
hostname $NAME
ip link set lo up
[ -z "$LOAD" ] || modprobe -a $LOAD
if [ -n "$NET" ]; then
    modprobe virtio_net
    ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
fi
if [ -n "$GPIO" ]; then
    modprobe -a configfs && mount -t configfs configfs /sys/kernel/config
    insmod $GPIO
    chip=/sys/kernel/config/gpio-sim/lab
    mkdir -p $chip/bank /run/gpio
    set -- $LINES
    echo $# >$chip/bank/num_lines
    number=0
    for line; do
        mkdir $chip/bank/line$number
        echo $line >$chip/bank/line$number/name
        number=$((number + 1))
    done
    echo 1 >$chip/live
    number=0
    for line; do
        ln -s /sys/devices/platform/$(cat $chip/dev_name)/$(cat $chip/bank/chip_name)/sim_gpio$number/pull /run/gpio/$line
        number=$((number + 1))
    done
fi
exec </dev/ttyS1
stty raw -echo
echo up >/lab/.vm/up
while read -r job; do
    [ "$job" != off ] || stop
    (
        /usr/bin/setsid /bin/sh /lab/.vm/$job.sh >/lab/.vm/$job.out 2>&1 </dev/null
        echo $? >/lab/.vm/$job.part
        mv /lab/.vm/$job.part /lab/.vm/$job.code
    ) &
done
