#!/usr/bin/env bash
# Make the certificates and keys of docker-compose.yml: `prepare.sh [FOLDER]`, default deploy/run.
# What exists is kept. The authority's key stays in FOLDER/authority: move it off the host.
set -eu
cd "$(dirname "$0")"
out=${1:-run}
umask 077
mkdir -p "$out/authority" "$out/keys" "$out/certs" "$out/edge"

if [ ! -f "$out/authority/ca.key" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=Meterloop authority" -keyout "$out/authority/ca.key" -out "$out/authority/ca.crt" \
    2>/dev/null
fi

# certificate FOLDER NAME FILE: a key and a certificate whose common name is NAME
certificate() {
  folder="$out/certs/$1"
  mkdir -p "$folder"
  cp "$out/authority/ca.crt" "$folder/ca.crt"
  [ -f "$folder/$3.crt" ] && return
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
    -keyout "$folder/$3.key" -out "$folder/$3.csr" 2>/dev/null
  printf 'subjectAltName=DNS:%s\n' "$2" >"$folder/$3.ext"
  openssl x509 -req -in "$folder/$3.csr" -CA "$out/authority/ca.crt" \
    -CAkey "$out/authority/ca.key" -CAcreateserial -days 825 -extfile "$folder/$3.ext" \
    -out "$folder/$3.crt" 2>/dev/null
  rm "$folder/$3.csr" "$folder/$3.ext"
}

certificate database database database
certificate broker broker broker
for role in meterloop meterloop_ingest meterloop_control meterloop_signer meterloop_billing \
  meterloop_portal C-01; do
  certificate "$role" "$role" client
done

if [ ! -f "$out/keys/signer.key" ]; then
  openssl genpkey -algorithm ed25519 -outform DER -out "$out/keys/signer.der" 2>/dev/null
  tail -c 32 "$out/keys/signer.der" | od -An -v -tx1 | tr -d ' \n' >"$out/keys/signer.key"
  openssl pkey -inform DER -in "$out/keys/signer.der" -pubout -outform DER 2>/dev/null |
    tail -c 32 | od -An -v -tx1 | tr -d ' \n' >"$out/keys/signer.pub"
  rm "$out/keys/signer.der"
fi
[ -f "$out/keys/database-owner" ] || openssl rand -hex 24 >"$out/keys/database-owner"

sed "s/\"control_public_key\": \"[0-9a-f]*\"/\"control_public_key\": \"$(cat "$out/keys/signer.pub")\"/" \
  edge/edge.json >"$out/edge/edge.json"
[ -f "$out/edge/keys.json" ] ||
  printf '{"system_title": "%s"}\n' "$(openssl rand -hex 8)" >"$out/edge/keys.json"

# containers run as user 1000, PostgreSQL in its image as user 70, mosquitto as user 1883
if [ "$(id -u)" = 0 ]; then
  chown -R 1000:1000 "$out"
  chown -R 70:70 "$out/certs/database"
  chown -R 1883:1883 "$out/certs/broker"
fi
echo "certificates and keys are in $PWD/$out" | sed "s#$PWD//#/#"
