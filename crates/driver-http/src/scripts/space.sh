# Tells the space of the file system: block size in bytes, blocks, free blocks, blocks available to others than root.
stat -f -c '%S %b %f %a' .
