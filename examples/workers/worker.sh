#!/usr/bin/env bash
# A worker in bash 4.4 or newer, with curl and jq. It runs scripts, and handlers that are shell functions: the job's data
# comes on stdin, what they print is the job's output, their result (JSON) goes to descriptor 3. See docs/worker-protocol.md.
#   ROTA_SERVER=http://127.0.0.1:8000 ROTA_SLOTS=2 examples/workers/worker.sh       (ROTA_TOKEN: where one is asked for)
rota.check.echo() { cat >&3; }
rota.check.fail() { jq -r .message >&2 && return 1; }
rota.check.sleep() {
  { read -r ticks && read -r file; } < <(jq -r '(.seconds * 10 | ceil), .file')
  for ((n = 1; n <= ticks; n++)); do echo "tick $n" | tee -a "$file" && sleep 0.1; done
}
handlers='["rota.check.echo", "rota.check.fail", "rota.check.sleep"]'

set -um && shopt -s nullglob # -m: what is started in the background has a process group of its own
server=${ROTA_SERVER:-http://127.0.0.1:8000}/v1/workers slots=${ROTA_SLOTS:-2} token=${ROTA_TOKEN-} stopping=
unset ROTA_TOKEN # it is none of a job's business
type curl jq >/dev/null && dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
echo "${token:+header = \"authorization: Bearer $token\"}" >"$dir/curl" # arguments all can read
trap stopping=1 TERM INT
clock() { read -r now _ </proc/uptime && now=${now/./}; } # hundredths of a second, on a clock that nobody sets

call() { # METHOD PATH SECONDS <BODY: prints the answer. Status 0: done, 4: unknown worker, 2: refused, 1: try again
  local status
  { status=$(curl -s -K "$dir/curl" -m "$3" -X "$1" -H 'content-type: application/json' --data-binary @- -o /dev/fd/3 -w '%{http_code}' "$server$2"); } 3>&1
  case $status in 2??) ;; 404) return 4 ;; 429) return 1 ;; 4??) return 2 ;; *) return 1 ;; esac
}
insist() { # PATH FILE: sends a file until there is an answer, whichever, or this worker has ended
  while [ -e "$2" ] && { call POST "$1" 10 <"$2" >/dev/null; (($? == 1)); }; do sleep 0.3; done
}
look() { # MOMENT: sets $over: when all that runs must be dead unless it is renewed before; $left and $nap: seconds until then
  local since one left_ && clock && over=$((now + 100 * beat))
  for one in "$held"/*/since; do read -r since <"$one" && over=$((since + ours < over ? since + ours : over)); done 2>/dev/null
  left_=$((($1 < over ? $1 : over) - now)) && left_=$((left_ > 5 ? left_ : 5))
  printf -v left %d.%02d $((left_ / 100)) $((left_ % 100)) && printf -v nap %d.%02d $((left_ / 125)) $((left_ % 125 * 4 / 5))
}
heartbeat() { # names all that is held; what an answered heartbeat has named is ours from its sending on
  local one answer sent names=("$held"/*/lease) && clock && look $((now + beat)) && sent=$now
  answer=$(jq -nc '{held: [inputs | {job, attempt}]}' /dev/null "${names[@]}" | call POST "/$id/heartbeat" "$left") || return
  for one in "${names[@]}"; do [ ! -e "$one" ] || echo "$sent" >"${one%/*}/since"; done 2>/dev/null
  obey "$answer" && next=$((sent + beat))
}
obey() { # ORDERS of a heartbeat or a watch
  while read -r why key grace; do
    if [ "$why" = drain ]; then stopping=${stopping:-drain}; else end "$why" "$key" "$grace"; fi
  done < <(jq -r '(.abort[]? | "\(.why) \(.job).\(.attempt) \(.grace_s | ceil)"), (.lost[]? | "lost \(.job).\(.attempt) 0"),
    if .drain then "drain" else empty end' <<<"$1")
}
end() { # WHY KEY GRACE: ends an attempt's processes: SIGTERM to all, SIGKILL after the grace
  local one=$held/$2 group && clock
  [ -d "$one" ] && { mkdir "$one/end" 2>/dev/null || [ "$1" = lost ]; } || return 0 # told before
  echo "$1 $now $3" >"$one/end/why"
  read -r group 2>/dev/null <"$one/group" || return 0 # not started, and it will not be
  { kill -TERM -- "-$group"; for ((n = 0; n < $3 * 10; n++)); do sleep 0.1; kill -0 -- "-$group" || exit 0; done
    touch "$one/end/killed"; kill -KILL -- "-$group"; } 2>/dev/null &
}
claim() { # asks for what there are free slots for; starts it once a heartbeat has named it
  set -m
  local taken free answer lease key new
  until [ -e "$held.closed" ]; do
    taken=("$held"/*) free=$((slots - ${#taken[@]})) new=()
    if ((free < 1)) || ! answer=$(call POST "/$id/claim" $((wait + 3)) <<<"{\"free\": $free, \"wait\": $wait}"); then sleep 0.2; continue; fi
    while read -r lease; do
      key=$(jq -r '"\(.job).\(.attempt)"' <<<"$lease") && mkdir "$held/$key" && new+=("$held/$key")
      echo "$lease" >"$held.new" && mv "$held.new" "$held/$key/lease"
    done < <(jq -c '.leases[]' <<<"$answer")
    until ((${#new[@]} == 0)) || heartbeat || [ -e "$held.closed" ]; do sleep 0.2; done
    for one in "${new[@]}"; do attempt "$one" & done
  done
}
attempt() { # FOLDER: runs an attempt to its end, tells what it writes, reports
  set -m
  local one=$1 n=0 text='' line group code='' why='' at=0 grace
  mkfifo "$one/log"
  { echo "$BASHPID" >"$one/group"
    [ -d "$one/end" ] || [ -e "$held.closed" ] || [ ! -e "$one/since" ] || { echo 137 >"$one/code"; run "$one/lease"; echo $? >"$one/code"; }
    kill -KILL -- "-$BASHPID"; } </dev/null >"$one/log" 2>&1 3>"$one/result" & # nothing that it started stays
  disown
  while IFS= read -r line && line+=$'\n' || [ -n "$line" ]; do # what comes within a tenth of a second goes together
    text=$line
    while [ ${#text} -lt 500000 ] && { IFS= read -rt 0.1 line && line+=$'\n' || [ -n "$line" ]; }; do text+=$line; done
    jq -c --argjson n $((n++)) --rawfile text <(printf %s "$text") '{logs: [{job, attempt, $n, stream: "stdout", $text}]}' "$one/lease" >"$one/piece"
    insist "/$id/logs" "$one/piece"
  done <"$one/log"
  read -r group <"$one/group"; while kill -0 -- "-$group" 2>/dev/null; do sleep 0.05; done
  read -r code 2>/dev/null <"$one/code"; read -r why at grace 2>/dev/null <"$one/end/why"; clock
  case $why:$code in requested:*) why=aborted ;; timed_out:* | interrupted:* | lost:*) ;; :) why=interrupted ;; :0) why=succeeded ;; *) why=errored ;; esac
  jq empty 2>/dev/null <"$one/result" || { [ "$why" != succeeded ] || why=bad_result; echo >"$one/result"; }
  jq -c --arg outcome "$why" --argjson code "${code:-null}" --arg text "${text:0:2000}" --slurpfile result "$one/result" \
    --argjson took $((now - at)) --arg killed "$([ ! -e "$one/end/killed" ] || echo "$grace")" '{job, attempt, $outcome, exit_code: $code} +
    if $outcome == "succeeded" then {result: $result[0]} elif ($outcome | test("errored|bad_result")) then
    {error: {type: "exit", message: "exit status \($code): \($text)"}} else
    {proof: {signals: [["SIGTERM", 0], ($killed | select(. != "") | ["SIGKILL", tonumber])], took_s: ($took / 100)}} end | {reports: [.]}' \
    "$one/lease" >"$one/report"
  [ "$why" = lost ] || insist "/$id/report" "$one/report"
  until rm -rf "$one" 2>/dev/null; do sleep 0.05; done
}
run() { # LEASE: what an attempt does
  local handler variables && handler=$(jq -r '.handler // empty' "$1")
  if jq -e '.options.limits | length > 0' "$1" >/dev/null; then echo "this worker knows no limits" && return 1; fi
  if [ -n "$handler" ]; then jq -c .data "$1" | "$handler"; return; fi
  mapfile -d '' variables < <(jq -j '{ROTA_JOB_ID: .job, ROTA_ATTEMPT: .attempt, ROTA_OWNER: (.owner // "default")} + (.options.env // {})
    | to_entries[] | "\(.key)=\(.value)\u0000"' "$1")
  env -i PATH="$PATH" HOME="$HOME" "${variables[@]}" bash -c "$(jq -r .script "$1")"
}

until [ "$stopping" ]; do
  welcome=$(jq -n --argjson names "$handlers" --argjson slots "$slots" --arg name "bash-$$" \
    '{$name, handlers: [{name: $names[]}], scripts: true, $slots}' | call POST '' 10) || { sleep 0.5; continue; }
  { read -r id; read -r ours; read -r beat; } < <(jq -r '.worker, (.lease_s * 80 | floor), (.heartbeat_s * 100 | floor)' <<<"$welcome")
  held=$dir/$id wait=$((beat > 100 ? beat / 100 : 1)) && mkdir "$held"
  claim & # in a process of its own, as each attempt is; this one keeps the leases and the orders
  next=0
  while heartbeat; (($? != 4)) && look "$next" && ((now < over)); do # 4: unknown; over: a lease may be. Then all of it ends here
    if [ "$stopping" ]; then
      touch "$held.closed"
      [ "$stopping" = drain ] || for one in "$held"/*; do end interrupted "${one##*/}" 1; done
      taken=("$held"/*) && ((${#taken[@]} > 0)) || break
    fi
    orders=$(call POST "/$id/watch" "$left" <<<"{\"wait\": $nap}") && obey "$orders" || sleep 0.2
  done
  touch "$held.closed"
  for one in "$held"/*; do end lost "${one##*/}" 0; done
  wait # for the claim
  for ((n = 0; n < 100; n += ${#stopping} > 0)); do taken=("$held"/*) && ((${#taken[@]} > 0)) && sleep 0.05 || break; done
done
[ -z "${id:-}" ] || call DELETE "/$id" 5 </dev/null
