# Writes a file or block device to standard output, from an offset on: a line that tells its length and what tells it from any
# other, the bytes, and for a file a line that tells the same again. $1 is the path, $2 the offset,
# $3 the machine that must not be this one, or -.
LC_ALL=C
export LC_ALL
if [ "$3" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) $(stat -L -c %d:%i / 2>/dev/null)" ]; then
    echo "is this very machine" >&2
    exit 78
fi
case $1 in /*) file=$1 ;; *) file=./$1 ;; esac
if [ ! -e "$file" ]; then
    echo "No such file or directory" >&2
    exit 66
elif [ ! -r "$file" ]; then
    echo "Permission denied" >&2
    exit 77
elif [ -f "$file" ]; then
    stamp() { stat -L -c '%s %i %y %z' "$file"; }
elif [ -b "$file" ]; then
    stamp() { echo "$(blockdev --getsize64 "$file" 2>/dev/null || echo -) device"; }
else
    echo "is neither a file nor a block device" >&2
    exit 65
fi
told=$(stamp) || exit 74
echo "market-transfer $told"
if [ "$2" -gt 0 ]; then
    tail -c "+$(($2 + 1))" "$file" || exit 74
else
    cat "$file" || exit 74
fi
[ ! -f "$file" ] || printf '\nmarket-transfer %s\n' "$(stamp)"
