# Gives what was prepared for the image $2 that name, in one step. Answers "published", or an error as tell_error says it. Without the prepared file,
# which whoever gives a copy up removes first, nothing gets a name.
keep_saying_working
part=.market-$2.part
if [ ! -f "$part" ]; then
    tell_error "what was prepared is gone"
    exit 0
fi
if ln "$part" "$2" 2>/dev/null; then
    rm -f "$part"
elif ! mv -n "$part" "$2"; then
    # A file system without links, and with another trouble.
    tell_error "the image could not be named"
    exit 0
fi
if [ ! -f "$2" ] || ! sync_entries; then
    rm -f "$2"
    tell_error "the directory could not be put on the disk"
    exit 0
fi
echo published
