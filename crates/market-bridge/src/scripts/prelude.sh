# Begins every script: enters the directory, which is $1. Messages of programs are in English, so that tell_error knows them.
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

# Answers why the work cannot be done: "error full <cause>" when the file system or a quota has no room, else "error failed <cause>".
# The cause is the last line of $1.
tell_error() {
    cause=$(printf '%s\n' "$1" | tail -n 1)
    case $cause in
    *'No space left on device'* | *'Disk quota exceeded'*) printf 'error full %s\n' "$cause" ;;
    *) printf 'error failed %s\n' "$cause" ;;
    esac
}

# The cause in the messages of a dd that has failed, without the figures that follow it.
dd_cause() {
    printf '%s\n' "$1" | sed -n '/^dd: /{s/^dd: //;p;q;}'
}

# Says "working" every five seconds while the script is at work, for a day at most. Its sleep holds no descriptor open.
keep_saying_working() {
    (
        count=0
        while [ "$count" -lt 17280 ] && sleep 5 <&- >&- 2>&-; do
            echo working
            count=$((count + 1))
        done
    ) &
    heartbeat=$!
    trap 'kill "$heartbeat" 2>/dev/null' EXIT
}
