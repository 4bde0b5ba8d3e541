-- The weather at the gateway, shared by all processes: patience it asked for, breaker, budget, in one round trip.
-- `admission.rs`, `breaker.rs` and `budget.rs` are the same inside one process: change both. A property test
-- (`tests/histories.rs`) holds the two against each other.
--
-- KEYS[1] the hash that holds it; ARGV[1] what to do. All times are microseconds, by Redis' own clock.
-- Answers: verdict, wait, failures, opened how long ago (-1: closed), opens in, whether a probe is under way, patience
-- for, cause.
local key, act = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local row = redis.call('HMGET', key, 'full_at', 'told_until', 'failures', 'opened_at', 'open_until', 'failed_probes',
    'cause', 'probe', 'probe_until')
local function number(place) return tonumber(row[place]) or 0 end
local full_at, told_until, failures = number(1), number(2), number(3)
local opened_at, open_until, failed_probes = number(4), number(5), number(6)
local cause, probe, probe_until = row[7] or '', row[8] or '', number(9)

local function text(value) return string.format('%.0f', value) end

local function save()
    redis.call('HSET', key, 'full_at', text(full_at), 'told_until', text(told_until), 'failures', text(failures),
        'opened_at', text(opened_at), 'open_until', text(open_until), 'failed_probes', text(failed_probes),
        'cause', cause, 'probe', probe, 'probe_until', text(probe_until))
    redis.call('PEXPIRE', key, 3600000)
end

local function close()
    failures, opened_at, open_until, failed_probes, cause, probe, probe_until = 0, 0, 0, 0, '', '', 0
end

local function answer(verdict, wait)
    local is_probing = probe ~= '' and probe_until > now
    return {
        verdict, text(wait), failures,
        opened_at > 0 and text(math.max(now - opened_at, 0)) or '-1',
        text(is_probing and tonumber(ARGV[2]) or math.max(open_until - now, 0)),
        is_probing and 1 or 0, text(math.max(told_until - now, 0)), cause,
    }
end

-- admit, look after a probe, between turns (0: unlimited), free turns, longest debt, longest wait, probe's name ('': as if
-- there were no breaker), probe's lease
if act == 'admit' then
    if told_until > now then return answer('retry_after', told_until - now) end
    local name, is_probe = ARGV[7], false
    if opened_at > 0 and name ~= '' then
        if open_until > now then return answer('breaker', open_until - now) end
        if probe ~= '' and probe_until > now then return answer('breaker', tonumber(ARGV[2])) end
        is_probe = true
    end
    local between, wait = tonumber(ARGV[3]), 0
    if between > 0 then
        local debt = math.min(math.max(full_at - now, 0), tonumber(ARGV[5]))
        wait = math.max(debt - between * tonumber(ARGV[4]), 0)
        if wait > tonumber(ARGV[6]) then return answer('budget', wait) end
        full_at = now + debt + between
    end
    if is_probe then
        probe, probe_until = name, now + wait + tonumber(ARGV[8])
    end
    if is_probe or between > 0 then save() end
    return answer(is_probe and 'probe' or 'go', wait)
end

-- look, look after a probe
if act == 'look' then return answer('', 0) end

-- told, look after a probe, patience
if act == 'told' then
    told_until = math.max(told_until, now + tonumber(ARGV[3]))

-- end_patience, look after a probe
elseif act == 'end_patience' then
    told_until = 0

-- reset, look after a probe
elseif act == 'reset' then
    close()

-- answered | failed | neither, look after a probe, probe's name ('': none), cause, failures that open it, first wait,
-- longest wait
elseif opened_at == 0 then
    if act == 'answered' then
        close()
    elseif act == 'failed' then
        failures, cause = failures + 1, ARGV[4]
        if failures >= tonumber(ARGV[5]) then
            opened_at, open_until, failed_probes = now, now + tonumber(ARGV[6]), 0
        end
    end
-- Whoever left before it opened, or lost the right to probe, has nothing to say.
elseif ARGV[3] ~= '' and probe == ARGV[3] then
    if act == 'answered' then
        close()
    else
        probe, probe_until = '', 0
        if act == 'failed' then
            failed_probes, cause = failed_probes + 1, ARGV[4]
            open_until = now + math.min(tonumber(ARGV[6]) * 2 ^ math.min(failed_probes, 30), tonumber(ARGV[7]))
        end
    end
end
save()
return answer('', 0)
