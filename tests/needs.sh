# shellcheck shell=bash
# shellcheck disable=SC2317 # functions that are called through traps and by name look unreachable to it
# Shared by tests/run and tests/bench: their environment, and the programs they need. To be sourced.

readonly CANNOT_INSTALL=69 # sysexits: a service is unavailable

# ---- the caller's variables must not change the results --------------------------------------------------------------

forget_the_callers_settings() {
    local name
    for name in $(compgen -e); do
        case $name in
            TASDIQ_TEST_* | TASDIQ_UPDATE_REFERENCE) ;; # meant for us
            TASDIQ_* | ATMOS_* | DATABASE_URL | REDIS_URL | PG*) unset "$name" ;;
        esac
    done
}

# cargo and apt may need the proxy; the tests talk to this machine only.
without_proxies() {
    env -u http_proxy -u https_proxy -u all_proxy -u ftp_proxy -u no_proxy \
        -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u FTP_PROXY -u NO_PROXY "$@"
}

# ---- install ---------------------------------------------------------------------------------------------------------

first_command() { # the first of the named commands that exists
    local name
    for name; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}

# Debian keeps PostgreSQL's servers out of PATH, one folder per version; the newest is used.
postgres_folder() {
    local initdb
    if initdb=$(command -v initdb); then
        dirname "$(readlink -f "$initdb")"
        return
    fi
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [[ -x $initdb ]] && dirname "$initdb"
}

# The queue takes batches with BLMPOP, which Redis has since version 7.
redis_is_new_enough() {
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null &&
        [[ $(redis-server --version) =~ v=([0-9]+) ]] && ((BASH_REMATCH[1] >= 7))
}

missing_packages() {
    local chromium=chromium driver=chromium-driver program
    if grep -qs '^ID=ubuntu' /etc/os-release; then
        chromium=chromium-browser driver=chromium-chromedriver
    fi
    redis_is_new_enough || echo redis-server
    [[ -n $(postgres_folder) ]] || echo postgresql
    first_command chromium chromium-browser google-chrome google-chrome-stable >/dev/null || echo "$chromium"
    first_command chromedriver >/dev/null || echo "$driver"
    # What the commands of the documents are made of.
    for program in curl openssl python3; do
        command -v "$program" >/dev/null || echo "$program"
    done
    # Debian keeps what tests/foreign/prepare needs in a package of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

say_what_to_install() {
    cat >&2 <<'MESSAGE'
The tests need these programs, and this script could not install all of them:
    redis-server and redis-cli, version 7 or newer
    PostgreSQL's server (initdb, postgres), version 14 or newer
    Chromium or Google Chrome, and the chromedriver of the same version
    curl, openssl and python3 with its module venv
On Debian: apt-get install redis-server postgresql chromium chromium-driver curl openssl python3 python3-venv
MESSAGE
}

install() {
    local packages=()
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]} == 0)); then
        echo 'nothing is missing'
        return 0
    fi
    echo "missing: ${packages[*]}"
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            say_what_to_install
            return "$CANNOT_INSTALL"
        fi
        as_root=(sudo "--preserve-env=http_proxy,https_proxy,no_proxy")
    fi
    if ! command -v apt-get >/dev/null || ! apt_install; then
        say_what_to_install
        return "$CANNOT_INSTALL"
    fi
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]} > 0)); then
        echo "still missing or too old: ${packages[*]}" >&2
        say_what_to_install
        return "$CANNOT_INSTALL"
    fi
}

# Debian's packages start their servers at once, on the usual ports. The tests have their own servers, so this prevents
# it.
readonly SERVICE_POLICY=/usr/sbin/policy-rc.d
as_root=()           # what goes before a command that only root may do
policy_is_ours=false # then it must not stay: it would keep every later package from starting its server

apt_install() {
    local status=0
    if [[ ! -e $SERVICE_POLICY ]]; then
        policy_is_ours=true
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$SERVICE_POLICY" >/dev/null
        "${as_root[@]}" chmod +x "$SERVICE_POLICY"
    fi
    "${as_root[@]}" apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${packages[@]}" || status=$?
    remove_our_policy
    return "$status"
}

remove_our_policy() {
    if [[ $policy_is_ours == true ]]; then "${as_root[@]}" rm -f "$SERVICE_POLICY" && policy_is_ours=false; fi
}
