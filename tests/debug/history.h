// What a machine's operations mean, one after the other, on a few names; and whether what threads were answered can be
// explained by some order of their operations that keeps to the order in which one ended before another began
// (linearizability: Herlihy and Wing 1990; the search: Wing and Gong 1993, states seen before are left out as in Lowe 2017).
//
// Not every operation promises to happen in one moment. What is promised, and asked here:
// - a batch of edges is refused as a whole; a large one, as all are on these small plain graphs, brings its new edges in one
//   moment, but other labels for edges that are there one by one: what reads of single vertices say of labels is not compared where
//   they overlap with one, nor what they say of states where they overlap with a batch of dependencies;
// - a batch of statuses sets them one by one, and each change of a status reaches its dependents one by one: what is said of
//   states, and who is told of a flip, is not compared where it overlaps with another change of a status;
// - a walk, and the number of edges, lie between what holds with none and with all of the changes that overlap with them.

#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_set>

enum { HISTORY_NAMES = 8, HISTORY_THREADS = 4, HISTORY_PER_THREAD = 8 };

struct Model {
    uint8_t present;                            // bit a name
    uint8_t watched;
    int8_t label[HISTORY_NAMES][HISTORY_NAMES]; // 1 + label of the edge, 0: none
    int8_t status[HISTORY_NAMES];               // 1 + status, 0: not registered
};

struct Record {
    int32_t op, a, b, c, third;                 // third: the name that a batch mentions beside a and b, -1: none
    int64_t start, end;                         // when it began and ended: what ends before another one begins is over by then
    int64_t outcome;
    int64_t answer[3];
};

namespace history {

// In the order of machine.pxd and _types.pxd.
enum { ADD, REMOVE, LOOK, OUTS, INS, DEGREES, KEEP, DROP, PATH, DOWN, UP, BATCH, WHOLE, NUMBER, PLAIN_OPS, REGISTER,
       REGISTER_BOTH, SET, SET_BOTH, SET_BOTH_FLIPS, DEPEND, DEPEND_ALL, STATUS, WATCH, UNWATCH, LOG, WAITER, SUBSCRIBER,
       CHECK };
enum : int64_t { NAMES_ONLY = 0xFFFFFFFF };  // of the sum that tells an edge list: the ends, without their labels
enum { DONE, EXISTED, REPLACED, BUSY, STALE, MISSING, CYCLE, CONFLICT, UNREGISTERED };

inline uint8_t reach(const Model &m, int from, bool backward) {  // bits; `from` among them
    uint8_t found = 1 << from, before = 0;
    while (found != before) {
        before = found;
        for (int u = 0; u < HISTORY_NAMES; u++)
            for (int v = 0; v < HISTORY_NAMES; v++)
                if (m.label[u][v]) {
                    if (!backward && found >> u & 1)
                        found |= 1 << v;
                    if (backward && found >> v & 1)
                        found |= 1 << u;
                }
    }
    return found;
}

inline int64_t number(const Model &m) {
    int64_t n = 0;
    for (int u = 0; u < HISTORY_NAMES; u++)
        for (int v = 0; v < HISTORY_NAMES; v++)
            n += m.label[u][v] != 0;
    return n;
}

inline int state(const Model &m, int name) {
    static const int satisfied[4] = {0, 4, 6, 28}, impossible[4] = {0, 0, 8, 0};
    bool unmet = false, blocked = false;
    for (int v = 0; v < HISTORY_NAMES; v++)
        if (m.label[name][v]) {
            const int requirement = m.label[name][v] - 1, status = m.status[v] - 1;
            unmet |= status < 0 || !(satisfied[requirement] >> status & 1);
            blocked |= status >= 0 && impossible[requirement] >> status & 1;
        }
    return blocked ? 2 : m.status[name] && !unmet ? 1 : 0;
}

// Set a status; the changes of state that this makes, added up.
inline int64_t set_status(Model &m, int name, int status) {
    const Model before = m;
    int64_t flips = 0;
    m.status[name] = static_cast<int8_t>(status + 1);
    for (int u = 0; u < HISTORY_NAMES; u++)
        if (u != name && state(m, u) != state(before, u))
            flips += int64_t(1) << (8 * state(m, u)) << u % 8 << 8;
    return flips;
}

inline void put(Model &m, int u, int v, int label) {
    m.present |= 1 << u | 1 << v;
    m.label[u][v] = static_cast<int8_t>(label + 1);
}

// An edge as `Graph` (plain) or `StatusGraph` adds it.
inline int add(Model &m, int u, int v, int label, bool plain) {
    if (!plain && !m.status[u])
        return UNREGISTERED;
    if (m.label[u][v]) {
        if (m.label[u][v] == label + 1)
            return EXISTED;
        if (!plain)
            return CONFLICT;
        put(m, u, v, label);
        return REPLACED;
    }
    if (reach(m, v, false) >> u & 1)
        return CYCLE;
    put(m, u, v, label);
    return DONE;
}

struct Around {            // what overlaps with an operation
    Model least, most;     // without, and with, all edges that overlapping operations may add or remove
    bool batch;            // a batch of edges is among them
    bool changes;          // a change of a status, or such a batch, is
};

// Take one step of an operation in state `m`: 0 it could not have been answered so, 1 it is over, 2 it has further steps.
inline int take(Model &m, const Record &r, int phase, const Around &around) {
    const int a = r.a, b = r.b, c = r.c;
    const int64_t *answer = r.answer;
    const bool absent = !(m.present >> a & 1), gone = r.outcome == STALE || r.outcome == MISSING;
    switch (r.op) {
    case ADD:
    case DEPEND:
        return add(m, a, b, c, r.op == ADD) == r.outcome;
    case REMOVE:
        if (!m.label[a][b])
            return gone;
        m.label[a][b] = 0;
        return r.outcome == DONE;
    case LOOK:
        return m.label[a][b] ? r.outcome == DONE && (around.batch || answer[0] == m.label[a][b] - 1) : gone;
    case OUTS:
    case INS: {
        int64_t count = 0, sum = 0;
        for (int v = 0; v < HISTORY_NAMES; v++) {
            const int label = r.op == OUTS ? m.label[a][v] : m.label[v][a];
            if (label) {
                count++;
                sum += (int64_t(1) << v) + (answer[2] ? int64_t(label) * (v + 1) << 32 : 0);
            }
        }
        return answer[0] == count && (answer[1] == sum || (around.batch && (answer[1] & NAMES_ONLY) == (sum & NAMES_ONLY)));
    }
    case DEGREES: {
        int64_t outs = 0, ins = 0;
        for (int v = 0; v < HISTORY_NAMES; v++) {
            outs += m.label[a][v] != 0;
            ins += m.label[v][a] != 0;
        }
        return answer[0] == outs && answer[1] == ins;
    }
    case KEEP:
        m.present |= 1 << a;
        return r.outcome == DONE;
    case DROP:
        if (absent)
            return gone;
        m.present &= ~(1 << a);
        for (int v = 0; v < HISTORY_NAMES; v++)
            m.label[a][v] = m.label[v][a] = 0;
        return r.outcome == DONE;
    case PATH:
        return r.outcome == DONE ? reach(around.most, a, false) >> b & 1 : !(reach(around.least, a, false) >> b & 1);
    case DOWN:
    case UP: {
        const int64_t least = absent ? 0 : reach(around.least, a, r.op == UP);
        return (least & ~answer[0]) == 0 && (answer[0] & ~int64_t(reach(around.most, a, r.op == UP))) == 0
            && absent == gone;
    }
    case BATCH:
    case DEPEND_ALL: {
        const bool plain = r.op == BATCH;
        const int n = r.third < 0 ? 1 : plain ? 3 : 2;
        const int ends[3][2] = {{a, b}, {b, r.third}, {a, r.third}};
        Model whole = m;
        int outcome = DONE;
        for (int i = 0; i < n && !plain; i++)
            if (!m.status[ends[i][0]])
                outcome = UNREGISTERED;
        for (int i = 0; i < n && outcome == DONE; i++) {
            const int one = add(whole, ends[i][0], ends[i][1], c, plain);
            outcome = one == EXISTED || one == REPLACED ? DONE : one;
        }
        if (outcome == DONE)
            m = whole;
        return outcome == r.outcome;
    }
    case WHOLE: {
        int64_t sum = 0;
        for (int u = 0; u < HISTORY_NAMES; u++)
            for (int v = 0; v < HISTORY_NAMES; v++)
                if (m.label[u][v])
                    sum += int64_t(u + 1) * 0x10001 * ((v + 1) * 0x101 + 7) * (m.label[u][v] + 10);
        return answer[0] == sum && answer[1] == m.present;
    }
    case NUMBER:
        return number(around.least) <= answer[0] && answer[0] <= number(around.most);
    case REGISTER:
        m.present |= 1 << a;
        if (m.status[a])
            return r.outcome == EXISTED;
        set_status(m, a, c);
        return r.outcome == DONE;
    case SET: {
        const int old = m.status[a] - 1;
        if (old < 0)
            return gone || r.outcome == UNREGISTERED;
        if (old == c)
            return r.outcome == EXISTED && answer[0] == old;
        return r.outcome == DONE && answer[0] == old && (set_status(m, a, c) == answer[1] || around.changes);
    }
    case REGISTER_BOTH:
        if (phase == 0) {
            if (m.status[a] || m.status[b])
                return r.outcome == EXISTED;
            if (r.outcome != DONE)
                return 0;
            m.present |= 1 << a | 1 << b;
        } else if (m.status[b])
            return 0;
        set_status(m, phase ? b : a, c);
        return phase ? 1 : 2;
    case SET_BOTH:
    case SET_BOTH_FLIPS: {
        const int name = phase ? b : a;
        if (!m.status[a] || !m.status[b])
            return phase == 0 && r.outcome != DONE;
        const bool changed = m.status[name] - 1 != c;
        if (r.outcome != DONE || (answer[0] == 0 && changed) || (answer[0] == 2 && !changed) || answer[0] > 2)
            return 0;
        set_status(m, name, c);  // whose flips they are is asked of single changes
        return phase ? 1 : 2;
    }
    case STATUS:
        return (answer[0] == state(m, a) || around.changes) && answer[1] == m.status[a] - 1;
    case WATCH:
    case UNWATCH: {
        const bool was = m.watched >> a & 1, on = r.op == WATCH;
        if (on)
            m.present |= 1 << a;
        m.watched = on ? m.watched | 1 << a : m.watched & ~(1 << a);
        if (was == on || gone)
            return was == on && (r.outcome == EXISTED || gone);
        return r.outcome == DONE && answer[0] == m.status[a] - 1 && (answer[1] == state(m, a) || around.changes);
    }
    default:  // the log: looked at as it is read
        return 1;
    }
}

struct Search {
    int threads;
    const int *count;
    const Record (*records)[HISTORY_PER_THREAD];
    const Model *end;
    std::unordered_set<std::string> seen;

    static bool overlap(const Record &x, const Record &y) { return x.start <= y.end && y.start <= x.end; }

    Around around(const Model &m, int thread, const Record &r) const {
        Around found{m, m, false, false};
        for (int t = 0; t < threads; t++)
            for (int i = 0; i < count[t] && t != thread; i++) {
                const Record &o = records[t][i];
                if (!overlap(r, o))
                    continue;
                const bool batch = o.op == BATCH || o.op == DEPEND_ALL;
                found.batch |= batch;
                found.changes |= batch || o.op == REGISTER || o.op == REGISTER_BOTH || o.op == SET || o.op == SET_BOTH
                    || o.op == SET_BOTH_FLIPS;
                if (batch || o.op == ADD || o.op == DEPEND || o.op == REMOVE) {
                    edge(found, o.a, o.b);
                    if (batch && o.third >= 0) {
                        edge(found, o.b, o.third);
                        edge(found, o.a, o.third);
                    }
                }
                if (o.op == DROP)
                    for (int v = 0; v < HISTORY_NAMES; v++) {
                        found.least.label[o.a][v] = found.least.label[v][o.a] = 0;
                        found.most.label[o.a][v] |= m.label[o.a][v];
                    }
            }
        return found;
    }

    static void edge(Around &found, int u, int v) {
        found.least.label[u][v] = 0;
        found.most.label[u][v] = 1;
    }

    bool from(const Model &m, int *at, int *phase) {
        bool all = true;
        for (int t = 0; t < threads; t++)
            all &= at[t] == count[t];
        if (all)
            return memcmp(&m, end, sizeof m) == 0;
        std::string key(reinterpret_cast<const char *>(&m), sizeof m);
        for (int t = 0; t < threads; t++)
            key += static_cast<char>(at[t] * 2 + phase[t]);
        if (!seen.insert(key).second)
            return false;
        for (int t = 0; t < threads; t++) {
            if (at[t] == count[t])
                continue;
            const Record &r = records[t][at[t]];
            bool first = true;  // has every operation that ended before this one began happened?
            for (int o = 0; o < threads; o++)
                if (o != t && at[o] < count[o] && records[o][at[o]].end < r.start)
                    first = false;
            if (!first)
                continue;
            Model after = m;
            const int more = take(after, r, phase[t], around(m, t, r));
            if (!more)
                continue;
            if (more == 2)
                phase[t]++;
            else
                at[t]++;
            const int kept = phase[t];
            if (more == 1)
                phase[t] = 0;
            if (from(after, at, phase))
                return true;
            phase[t] = kept;
            if (more == 2)
                phase[t]--;
            else
                at[t]--;
        }
        return false;
    }
};

// Whether an order of the operations explains all answers, and the state at the end.
inline bool explained(int threads, const int *count, const Record (*records)[HISTORY_PER_THREAD], const Model *start,
                      const Model *end) {
    Search search{threads, count, records, end, {}};
    int at[HISTORY_THREADS] = {}, phase[HISTORY_THREADS] = {};
    return search.from(*start, at, phase);
}

}  // namespace history
