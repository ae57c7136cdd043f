# Moves the staging file $2 into the directory $3 under the name $4. With $6 other than - it is converted from the format $5 to
# that. Answers "placed" or "error <why>".
say_error() {
    echo "error $(printf '%s\n' "$1" | tail -n 1)"
    exit 0
}
keep_saying_working
umask 022
part=$3/.market-$4.part
trap 'kill "$heart" 2>/dev/null; rm -f "$part"' EXIT
told=$(mkdir -p "$3" 2>&1) || say_error "$told"
if [ "$6" = - ]; then
    told=$(mv "$staging/$2" "$part" 2>&1) || say_error "$told"
else
    told=$(qemu-img convert -q -f "$5" -O "$6" "$staging/$2" "$part" 2>&1) || say_error "$told"
    rm -f "$staging/$2"
fi
told=$(chmod 0644 "$part" 2>&1) || say_error "$told"
told=$(dd if=/dev/null of="$part" conv=notrunc,fsync 2>&1) || say_error "$told"
if ! ln "$part" "$3/$4" 2>/dev/null; then
    # A file system without links.
    told=$(mv -n "$part" "$3/$4" 2>&1) || say_error "$told"
fi
# What killed copies have left here, a day ago or more.
find "$staging" -type f -mmin +1440 -name "$(printf '[0-9a-f]%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)" \
    -exec rm -f {} + 2>/dev/null
if ! (cd "$3" && sync_entries) || [ ! -f "$3/$4" ]; then
    rm -f "$3/$4"
    say_error "the directory could not be put on the disk"
fi
echo placed
