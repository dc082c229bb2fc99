# An external codec that sends the .npy file as it came, and counts its budget as kept. The first argument says what it does
# wrong; what a file is needed for finds it in the second. Further arguments only make it known among processes.
how=$1
file=$2

# The number of this name in the request's header line.
number() {
  after=${header#*"\"$1\":"}
  printf %s "${after%%[,\}]*}"
}

# Takes the request's bytes.
take() { head -c "$bytes" >/dev/null; }

# A sound answer to any request, with no bytes.
empty='{"elements": 1, "bytes": 0}\n'

while IFS= read -r header; do
  bytes=$(number bytes)
  op=${header#*'"op":"'}
  op=${op%%\"*}
  case $how-$op in
    exits-*) echo loading >&2; echo 'no such layer' >&2; exit 3 ;;
    killed-*) kill -9 $$ ;;
    prints-*) echo 'loading the model' ;;
    bad-json-*) take; printf '{"bytes": }\n' ;;
    no-length-*) take; printf '{"elements": 3}\n' ;;
    no-elements-encode) take; printf '{"bytes": 0}\n' ;;
    no-numbers-encode) take; printf '{"elements": 0, "bytes": 0}\n' ;;
    many-numbers-encode) take; printf '{"elements": 97, "bytes": 0}\n' ;;
    huge-*) take; printf '{"elements": 1, "bytes": 99999999999}\n' ;;
    more-*) take; printf '{"elements": 1, "bytes": 1}\nab' ;;
    less-*) take; printf '{"elements": 1, "bytes": 10}\nab'; exit 0 ;;
    half-*) take; printf '{"elements": 1, "bytes": 10}\nab' ;;
    hangs-*) sh -c 'sleep 60; :' "$@" & wait ;;
    refuses-*) take; printf '{"error": "only even widths"}\n' ;;
    deaf-*) exec <&-; printf "$empty"; sleep 60 ;;
    mute-*) exec >&-; sleep 60 ;;
    pid-encode) take; me=$$; printf '{"elements": 1, "bytes": %s}\n%s' ${#me} $me ;;
    pid-decode) take; printf '{"error": "%s"}\n' $$ ;;
    file-decode) take; printf '{"bytes": %s}\n' "$(wc -c <"$file")"; cat "$file" ;;
    empty-encode) take; printf "$empty" ;;
    *)
      [ "$how" = short ] && [ "$bytes" -gt "$file" ] && exit 3
      [ "$how" = talks ] && head -c 300000 /dev/zero >&2
      printf '{"elements": %s, "bytes": %s}\n' "$([ "$op" = encode ] && number budget || echo 1)" "$bytes"
      head -c "$bytes"
      [ "$how" = once ] && exit 0
      ;;
  esac
done
[ "$how" = stays ] && sleep 60
