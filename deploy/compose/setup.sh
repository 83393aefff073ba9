#!/bin/sh
# Once, and after each change of GATEWAYS: certificates, access rules, buckets, tokens. What is there stays as it is.
set -eu
config=${CONFIG:-/config} ca=${CA:-/ca} broker=${BROKER:-/broker} shore=${SHORE:-/shore}
umask 077
[ -f "$ca/ca.pem" ] || bollard pki init --pki "$ca"
[ -f "$ca/broker-1.pem" ] || bollard pki broker broker-1 --pki "$ca" --host mosquitto --host localhost --host "$PUBLIC_HOST"
[ -f "$ca/page.pem" ] || bollard pki broker page --pki "$ca" --host localhost --host "$PUBLIC_HOST"
for name in ingest-1 serve-1; do [ -f "$ca/$name.pem" ] || bollard pki shore "$name" --pki "$ca"; done
for gateway in ${GATEWAYS:-}; do
    [ -f "$ca/$(echo "$gateway" | tr / .).pem" ] || bollard pki gateway "$gateway" --pki "$ca"
done
cp "$ca/ca.pem" "$ca/crl.pem" "$ca/broker-1.pem" "$ca/broker-1.key" "$broker"
for name in ingest-1 serve-1 page; do cp "$ca/$name.pem" "$ca/$name.key" "$shore"; done
cp "$ca/ca.pem" "$shore"
bollard influx setup --shore "$config/ingest.toml" --tokens "$shore"
bollard broker config --shore "$config/ingest.toml" --pki "$ca" --broker broker-1 --out "$broker" --certificates "$broker"
