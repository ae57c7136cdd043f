# Moves the staging file $2 into the directory $3 under a name that is no image's, for the image $4. With $6 other than - it is converted
# from the format $5 to that. Answers "prepared" or "error <why>".
say_error() {
    echo "error $(printf '%s\n' "$1" | tail -n 1)"
    exit 0
}
keep_saying_working
umask 022
part=$3/.market-$4.part
failed=1
trap 'kill "$heart" 2>/dev/null; [ -z "$failed" ] || rm -f "$part"' EXIT
told=$(mkdir -p "$3" 2>&1) || say_error "$told"
if [ "$6" = - ]; then
    told=$(mv "$staging/$2" "$part" 2>&1) || say_error "$told"
else
    told=$(qemu-img convert -q -f "$5" -O "$6" "$staging/$2" "$part" 2>&1) || say_error "$told"
    rm -f "$staging/$2"
fi
told=$(chmod 0644 "$part" 2>&1) || say_error "$told"
told=$(dd if=/dev/null of="$part" conv=notrunc,fsync 2>&1) || say_error "$told"
# What killed copies have left, a day ago or more.
digits=$(printf '[0-9a-f]%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
find "$staging" -type f -mmin +1440 -name "$digits" -exec rm -f {} + 2>/dev/null
find "$3/." ! -name . -prune -type f -mmin +1440 -name ".market-$digits.part" -exec rm -f {} + 2>/dev/null
failed=
echo prepared
