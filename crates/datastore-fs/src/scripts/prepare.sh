# Moves the staging file $2 into the directory $3 under a name that is no image's, for the image $4. With $6 other than - it is converted
# from the format $5 to that, and compared with what it was made from. Answers "prepared" or an error as tell_error says it.
last() {
    printf '%s\n' "$1" | tail -n 1
}
fail() {
    tell_error "$1"
    exit 0
}
# Runs qemu-img. It may end well after a write that has failed: a word on its standard error is a failure too.
qemu_img() {
    told=$(qemu-img "$@" 2>&1 >/dev/null) || fail "qemu-img $1: $(last "${told:-failed}")"
    [ -z "$told" ] || fail "qemu-img $1 ended well, but complained: $(last "$told")"
}
# The size in bytes of the disk in the image $2 of the format $1.
disk_bytes() {
    qemu-img info -f "$1" "$2" 2>/dev/null | sed -n 's/^virtual size: .*(\([0-9]*\) bytes).*/\1/p'
}
keep_saying_working
find_staging "$2"
umask 022
part=$3/.market-$4.part
failed=1
trap 'kill "$heartbeat" 2>/dev/null; [ -z "$failed" ] || rm -f "$part"' EXIT
if [ ! -d "$3" ]; then
    told=$(mkdir -p "$3" 2>&1) || fail "$told"
    # Its name, and those of the directories above it that were made with it.
    sync
fi
if [ "$6" = - ]; then
    told=$(mv "$staging/$2" "$part" 2>&1) || fail "$told"
    exec 7<>"$part"
else
    told=$( (set -C && : >"$part") 2>&1) || fail "$told"
    # Open from now on: what the disk reports while qemu-img writes is told to whoever has the file open.
    exec 7<>"$part"
    qemu_img convert -q -f "$5" -O "$6" "$staging/$2" "$part"
    told=$(qemu-img compare -q -f "$5" -F "$6" "$staging/$2" "$part" 2>&1) && [ -z "$told" ] ||
        fail "what qemu-img wrote is not what it read${told:+: $told}"
    bytes=$(disk_bytes "$6" "$part")
    [ -n "$bytes" ] && [ "$bytes" = "$(disk_bytes "$5" "$staging/$2")" ] ||
        fail "what qemu-img wrote is not what it read: the disk has another size"
    [ "$6" != qcow2 ] || qemu_img check -q -f qcow2 "$part"
    rm -f "$staging/$2"
fi
told=$(chmod 0644 "$part" 2>&1) || fail "$told"
told=$(dd if=/dev/null conv=notrunc,fsync 2>&1 >&7) || fail "$told"
# What killed copies have left, a day ago or more.
digits=$(printf '[0-9a-f]%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
find "$staging" -type f -mmin +1440 -name "$digits" -exec rm -f {} + 2>/dev/null
find "$3/." ! -name . -prune -type f -mmin +1440 -name ".market-$digits.part" -exec rm -f {} + 2>/dev/null
failed=
echo prepared
