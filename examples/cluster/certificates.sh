#!/bin/sh
# Make an authority and certificates for the daemons of a cluster, with openssl.
#
#     certificates.sh FOLDER NAME[=ADDRESS,...] ...
#     certificates.sh examples/cluster/four-processes/tls/certificates routing kvs scheduler executor
#     certificates.sh certificates node1=10.0.0.1 node2=10.0.0.2 node3=10.0.0.3
#
# An address is an IP address or a host's name; without any it is 127.0.0.1 and localhost. ca.key makes more certificates: keep
# it away from the machines of the cluster.
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 64; }
dir=$1
shift
umask 077
mkdir -p "$dir"
cd "$dir"
if [ ! -f ca.pem ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=essad -keyout ca.key -out ca.pem 2>/dev/null
fi
for arg; do
	name=${arg%%=*}
	addresses=127.0.0.1,localhost
	[ "$name" = "$arg" ] || addresses=${arg#*=}
	sans=
	for a in $(echo "$addresses" | tr , ' '); do
		case $a in
		*:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
		*) kind=DNS ;;
		esac
		sans=${sans:+$sans,}$kind:$a
	done
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$sans" >"$name.ext"
	openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" -out "$name.pem" 2>/dev/null
	rm "$name.csr" "$name.ext"
	echo "$name: $sans"
done
