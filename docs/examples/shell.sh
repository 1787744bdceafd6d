# Functions for the examples. Start a city with `make up`; then, in another shell at the root of the repository: . docs/examples/shell.sh
PATH="$PWD/.venv/bin:$PATH"
[ -n "$METERHALL_DEMO_KEY" ] || eval "$(meterhall env)"

# api METHOD PATH [JSON]: send a request with the demo wallet's key and print the response. Each POST gets an idempotency key of its own.
api() {
  curl -s -X "$1" "$METERHALL_PUBLIC_URL$2" -H "Authorization: Bearer $METERHALL_DEMO_KEY" -H "Prefer: wait=9" \
    ${3:+-H "Content-Type: application/json" -H "Idempotency-Key: $(uuid)" -d "$3"}
}

# pick PATH: one value of a JSON response, for example: pick bills.0.id
pick() { show "$1" | cut -d " " -f 2- | tr -d '"'; }

# show PATH…: a few values of a JSON response, one per line
show() {
  python3 -c '
import json, sys
response = json.load(sys.stdin)
for path in sys.argv[1:]:
    value = response
    for name in path.split("."):
        value = value[int(name) if name.isdigit() else name]
    print(path + ":", json.dumps(value, ensure_ascii=False))' "$@"
}

# owing BILLER: the number of a sandbox account that owes something at this biller; another one each time
owing() {
  curl -s "$METERHALL_SANDBOX_BILLERS/sandbox/accounts?biller=$1&owing=true&limit=400" |
    python3 -c "import json, random, sys; print(random.choice(json.load(sys.stdin)))"
}

# look_up BILLER: look such an account up and keep its first bill in $BILL and the amount in $AMOUNT
look_up() {
  lookup=$(api POST /v1/lookups '{"biller_id": "'$1'", "account_number": "'$(owing $1)'"}')
  BILL=$(echo "$lookup" | pick bills.0.id)
  AMOUNT=$(echo "$lookup" | pick bills.0.amount_minor)
}

# ended PATH: wait until the payment, refund or top-up at this path is no longer being processed, then print it
ended() {
  for _ in $(seq 100); do
    response=$(api GET "$1")
    [ "$(echo "$response" | pick status)" = processing ] || break
    sleep 0.1
  done
  echo "$response"
}

uuid() { python3 -c "import uuid; print(uuid.uuid4())"; }
