# Stores standard input in the staging file $2, if there is room for $3 bytes (- when that is not known). Answers line by line:
# "ready <staging directory>" or "full <available blocks> <their size>"; "working" now and then; "hashed <MD5> <bytes>" once all is there; "synced" once it is on the disk; an error
# as tell_error says it.
mkdir -m 0700 "$staging" 2>/dev/null
staging=$(own_staging | head -n 1)
if [ -z "$staging" ] && ! staging=$(mktemp -d ./.market-staging-XXXXXXXXXXXXXXXX 2>&1); then
    tell_error "$staging"
    exit 0
fi
staging=${staging#./}
if [ -L "$staging" ] || [ ! -d "$staging" ]; then
    tell_error "$staging is not a directory of this user: remove it, unfinished imports are kept there"
    exit 0
fi
case $(ls -ld "$staging") in
drwx--[-S]---*) ;;
*)
    tell_error "$staging could be read by others: give it mode 0700"
    exit 0
    ;;
esac
available=$(stat -f -c '%a %S' .) || exit 74
# In blocks: some file systems claim more bytes than a shell can count.
if [ "$3" != - ] && [ "$((($3 + ${available#* } - 1) / ${available#* }))" -gt "${available% *}" ]; then
    echo "full $available"
    exit 0
fi
cd "$staging" && [ -O . ] || exit 77
set -C
: >"$2" || exit 73
set +C
keep_saying_working
# Only descriptors from here on: a file that is removed meanwhile must not come back.
exec 3<&0 4>&1 8<"$2" 9<>"$2"
# Marks it as being written, where that is possible.
flock -n 9 2>/dev/null
echo "ready $staging"
sparse=
dd if=/dev/null of=/dev/null conv=sparse 2>/dev/null && sparse=,sparse

# Writes 64 MiB at a time, and a line after each of them.
write() {
    while :; do
        if ! told=$(dd bs=65536 count=1024 iflag=fullblock conv="notrunc$sparse" 2>&1 <&3 >&9); then
            tell_error "$(dd_cause "$told")" >&4
            return
        fi
        echo written
        case $told in 1024+0\ *) ;; *) return ;; esac
    done
}

# Reads them back, from the system's cache, while the next ones come.
read_back() {
    while read -r _; do
        dd bs=1048576 count=64 2>/dev/null <&8
    done
}

sum=$(write | read_back | md5sum)
bytes=$(stat -c %s "$2") || exit 74
chmod 0644 "$2" || exit 74
echo "hashed ${sum%% *} $bytes"
if ! told=$(dd if=/dev/null conv=notrunc,fsync 2>&1 >&9); then
    tell_error "$(dd_cause "$told")"
    exit 0
fi
echo synced
