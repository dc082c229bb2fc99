#!/bin/sh
# Makes the private CA of the tests and the certificate of their hub, good from 2000 to 2100. Nothing trusts them but the
# tests, so the hub's key is no secret; the CA's own is thrown away.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
touch "$work/index"
cat > "$work/conf" <<END
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work
rand_serial = yes
policy = any
default_md = sha256
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[hub]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
extendedKeyUsage = serverAuth
END
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
sign() {
    openssl ca -config "$work/conf" -batch -notext -startdate 20000101000000Z -enddate 21000101000000Z "$@"
}
key "$work/ca.key"
key hub.key
openssl req -config "$work/conf" -new -key "$work/ca.key" -subj "/CN=splitbench test CA" -out "$work/ca.csr"
openssl req -config "$work/conf" -new -key hub.key -subj "/CN=splitbench test hub" -out "$work/hub.csr"
sign -selfsign -keyfile "$work/ca.key" -in "$work/ca.csr" -extensions root -out ca.pem
sign -keyfile "$work/ca.key" -cert ca.pem -in "$work/hub.csr" -extensions hub -out hub.pem
