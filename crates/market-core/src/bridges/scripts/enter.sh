# Begins every script: enters the directory, which is $1.
LC_ALL=C
export LC_ALL
umask 077
if ! cd "$1" 2>/dev/null; then
    if [ -d "$1" ]; then
        echo "Permission denied" >&2
        exit 77
    elif [ -e "$1" ]; then
        echo "is no directory" >&2
        exit 65
    fi
    echo "does not exist" >&2
    exit 66
fi
staging=.market-staging

# The staging directories of this user. Where others may write too, one of them may have taken the first name; then there is one
# that nobody could guess.
own_staging() {
    find . ! -name . -prune \( -name .market-staging -o -name '.market-staging-*' \) -user "$(id -u)" | sort
}

# Finds the staging directory that holds the file $1.
find_staging() {
    for candidate in $(own_staging); do
        if [ ! -L "$candidate" ] && [ -f "$candidate/$1" ]; then
            staging=$candidate
            return
        fi
    done
}

# Puts the directory's entries on the disk. An older sync takes no names, and puts everything there.
sync_entries() {
    if sync --help 2>&1 | grep -q FILE; then
        sync .
    else
        sync
    fi
}

# Says now and then that a step takes its time, for a day at most; its sleep holds nothing open.
keep_saying_working() {
    (
        beats=0
        while [ "$beats" -lt 17280 ] && sleep 5 <&- >&- 2>&-; do
            echo working
            beats=$((beats + 1))
        done
    ) &
    heart=$!
    trap 'kill "$heart" 2>/dev/null' EXIT
}
