-- The admission of calls to the gateway, shared by all processes: Retry-After, circuit breaker and rate limit, in one round
-- trip. `admission.rs`, `breaker.rs` and `rate_limit.rs` have the same rules inside one process: change both. A property
-- test (`tests/histories.rs`) compares the two.
--
-- KEYS[1] is the hash that holds the state; ARGV[1] is the command. All times are microseconds, by Redis' own clock.
-- A process of an older release reads and writes the same hash, so its fields keep their names: `told_until` is the end of
-- a Retry-After.
-- The reply: decision, wait, failures, time since the breaker opened (-1: it is closed), time until it lets a call through,
-- whether a probe is under way, time that is left of a Retry-After, cause.
local key, command = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local row = redis.call('HMGET', key, 'full_at', 'told_until', 'failures', 'opened_at', 'open_until', 'failed_probes',
    'cause', 'probe', 'probe_until')
local function number(place) return tonumber(row[place]) or 0 end
local full_at, retry_after_until, failures = number(1), number(2), number(3)
local opened_at, open_until, failed_probes = number(4), number(5), number(6)
local cause, probe, probe_until = row[7] or '', row[8] or '', number(9)

local function text(value) return string.format('%.0f', value) end

local function save()
    redis.call('HSET', key, 'full_at', text(full_at), 'told_until', text(retry_after_until), 'failures', text(failures),
        'opened_at', text(opened_at), 'open_until', text(open_until), 'failed_probes', text(failed_probes),
        'cause', cause, 'probe', probe, 'probe_until', text(probe_until))
    redis.call('PEXPIRE', key, 3600000)
end

local function close_breaker()
    failures, opened_at, open_until, failed_probes, cause, probe, probe_until = 0, 0, 0, 0, '', '', 0
end

local function reply(decision, wait)
    local is_probing = probe ~= '' and probe_until > now
    return {
        decision, text(wait), failures,
        opened_at > 0 and text(math.max(now - opened_at, 0)) or '-1',
        text(is_probing and tonumber(ARGV[2]) or math.max(open_until - now, 0)),
        is_probing and 1 or 0, text(math.max(retry_after_until - now, 0)), cause,
    }
end

-- admit, wait after a probe, interval between calls (0: unlimited), free calls, longest debt, longest wait, the call's name
-- ('': pass by the breaker), lease of a probe
if command == 'admit' then
    if retry_after_until > now then return reply('retry_after', retry_after_until - now) end
    local name, is_probe = ARGV[7], false
    if opened_at > 0 and name ~= '' then
        if open_until > now then return reply('breaker', open_until - now) end
        if probe ~= '' and probe_until > now then return reply('breaker', tonumber(ARGV[2])) end
        is_probe = true
    end
    local interval, wait = tonumber(ARGV[3]), 0
    if interval > 0 then
        local debt = math.min(math.max(full_at - now, 0), tonumber(ARGV[5]))
        wait = math.max(debt - interval * tonumber(ARGV[4]), 0)
        if wait > tonumber(ARGV[6]) then return reply('rate_limit', wait) end
        full_at = now + debt + interval
    end
    if is_probe then
        probe, probe_until = name, now + wait + tonumber(ARGV[8])
    end
    if is_probe or interval > 0 then save() end
    return reply(is_probe and 'probe' or 'go', wait)
end

-- view, wait after a probe
if command == 'view' then return reply('', 0) end

-- begin_retry_after, wait after a probe, time
if command == 'begin_retry_after' then
    retry_after_until = math.max(retry_after_until, now + tonumber(ARGV[3]))

-- end_retry_after, wait after a probe
elseif command == 'end_retry_after' then
    retry_after_until = 0

-- reset_breaker, wait after a probe
elseif command == 'reset_breaker' then
    close_breaker()

-- answered | failed | neither, wait after a probe, probe's name ('': the call was no probe), cause, failures that open the
-- breaker, first wait, longest wait
elseif opened_at == 0 then
    if command == 'answered' then
        close_breaker()
    elseif command == 'failed' then
        failures, cause = failures + 1, ARGV[4]
        if failures >= tonumber(ARGV[5]) then
            opened_at, open_until, failed_probes = now, now + tonumber(ARGV[6]), 0
        end
    end
-- Only the present probe counts: not a call that left before the breaker opened, nor a probe that took too long.
elseif ARGV[3] ~= '' and probe == ARGV[3] then
    if command == 'answered' then
        close_breaker()
    else
        probe, probe_until = '', 0
        if command == 'failed' then
            failed_probes, cause = failed_probes + 1, ARGV[4]
            open_until = now + math.min(tonumber(ARGV[6]) * 2 ^ math.min(failed_probes, 30), tonumber(ARGV[7]))
        end
    end
end
save()
return reply('', 0)
