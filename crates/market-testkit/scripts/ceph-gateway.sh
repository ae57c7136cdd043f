#!/usr/bin/env bash
# A gateway of Ceph on one machine, for tests: one monitor, one store in memory, one S3 gateway, all on 127.0.0.1.
#
#   ceph-gateway.sh DIRECTORY GATEWAY_PORT MONITOR_PORT ACCESS_KEY SECRET_KEY
#
# Prints "ready" when it answers, and runs until its standard input ends; then its daemons end too. What they write is in
# DIRECTORY, objects are in memory and are freed late: few and small ones, please.
set -euo pipefail
directory=$1 gateway_port=$2 monitor_port=$3 access_key=$4 secret_key=$5

mkdir -p "$directory"/{monitor,store,gateway,log}
cd "$directory"
export CEPH_CONF=$directory/ceph.conf
fsid=$(cat /proc/sys/kernel/random/uuid)

cat > ceph.conf <<CONF
[global]
fsid = $fsid
mon_host = v2:127.0.0.1:$monitor_port
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
keyring = $directory/keyring
run_dir = $directory
admin_socket = $directory/\$name.asok
pid_file = $directory/\$name.pid
log_file = $directory/log/\$name.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data_avail_warn = 2
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
[mon]
mon_data = $directory/monitor
[osd]
osd_data = $directory/store
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_memory_target = 939524096
[client.gateway]
rgw_frontends = beast endpoint=127.0.0.1:$gateway_port
rgw_data = $directory/gateway
CONF

daemons=()
# Everything that was started ends with this script.
end() {
    for pid in "${daemons[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap end EXIT

# Starts a daemon that stays in the foreground, without this script's standard streams.
daemon() {
    "$@" </dev/null >>log/output 2>&1 &
    daemons+=($!)
}

# Waits for something that must come true within a minute.
until_true() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 240 ]; then
            echo "in vain: $*" >&2
            exit 1
        fi
        sleep 0.25
    done
}

# The gateway only authenticates itself to the monitor with keys.
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor_port]" monmap >>log/output
ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' >>log/output
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >>log/output
ceph-mon -i a --mkfs --monmap monmap --keyring keyring >>log/output 2>&1
daemon ceph-mon -f -i a
until_true timeout 10 ceph mon stat

uuid=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$uuid" >>log/output 2>&1
{
    ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *'
    ceph auth get-or-create client.gateway mon 'allow rw' osd 'allow rwx'
} >>keyring 2>>log/output
ceph-osd -i 0 --mkfs --osd-uuid "$uuid" >>log/output 2>&1
daemon ceph-osd -f -i 0
until_true sh -c 'timeout 10 ceph osd stat | grep -q "1 up"'

daemon radosgw -f -n client.gateway
until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/$gateway_port"
radosgw-admin user create --uid market --display-name market --access-key "$access_key" --secret "$secret_key" \
    >>log/output 2>&1

echo ready
cat >/dev/null
