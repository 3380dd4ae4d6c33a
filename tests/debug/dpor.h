// Stateless model checking with dynamic partial-order reduction: of all interleavings of two threads, one of every Mazurkiewicz
// trace, that is of those that differ only in the order of neighbouring steps which do not conflict (Flanagan and Godefroid 2005,
// "Dynamic partial-order reduction for model checking software"; sleep sets: Godefroid 1996; races and the proof that these
// are enough: Abdulla, Aronsson, Jonsson and Sagonas 2014, "Optimal dynamic partial order reduction").
//
// Two steps conflict when they touch the same address and one changes it: a store of the value that is there, an exchange for
// it or a compare-exchange that fails only reads. Those who sleep at an address are a second cell of it, which going to sleep and
// waking somebody change, and which waking nobody reads; whoever is woken goes on after the step that woke him.
//
// The search is depth first. When a step conflicts with one of the other thread that does not happen before it through others
// (a race), the other order is run as well: the earlier step's place is where the later thread goes on instead. There, the step
// that was taken before sleeps until something conflicts with it, as what would follow was run already. With two threads what has
// to run before the later step is of that thread alone, so that no run is in vain: there are as many runs as traces.

#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

class fastdag_dpor {
public:
    // Bits: the value is looked at, changed; those who sleep are looked at, changed; it waited for a mutex.
    enum Effect : uint8_t { READ = 1, WRITE = 3, WAKE_NOBODY = 4, WAKE = 12, SLEEP = 13, LOCK = 19 };

    void begin() {
        at = 0;
        seen[0] = seen[1] = -1;
    }

    // Who takes the next step, given who is able to and where each would take it; -1: only one whose step sleeps.
    int choose(int current, bool able0, bool able1, const void *address0, const void *address1) {
        const bool able[2] = {able0, able1};
        const void *const address[2] = {address0, address1};
        if (at == nodes.size()) {
            Node node{};
            node.thread = able[current] ? current : 1 - current;
            if (at && nodes[at - 1].other_sleeps) {
                const Node &before = nodes[at - 1];
                const int sleeper = 1 - before.thread;
                if (!conflict(before.address, before.effect, address[sleeper], before.sleeping)) {
                    node.thread = before.thread;
                    node.other_sleeps = true;
                    node.sleeping = before.sleeping;
                }
            }
            nodes.push_back(node);
        }
        return able[nodes[at].thread] ? nodes[at].thread : -1;
    }

    // The step was taken; false: a run before this one took another step here.
    bool taken(const void *address, Effect effect) {
        Node &node = nodes[at];
        const int thread = node.thread;
        node.address = address;
        if (at < known) {
            if (node.effect != effect)
                return false;
            seen[thread] = node.seen;
        } else {
            node.effect = effect;
            look_for_race(node);
            node.seen = seen[thread];
        }
        if (effect == WAKE)
            seen[1 - thread] = at;
        at++;
        return true;
    }

    // Prepare the next run; false: there is none.
    bool next() {
        for (; !nodes.empty(); nodes.pop_back()) {
            Node &node = nodes.back();
            if (!node.race || node.other_sleeps)
                continue;
            node.other_sleeps = true;
            node.sleeping = node.effect;
            node.thread = 1 - node.thread;
            known = nodes.size() - 1;
            return true;
        }
        known = 0;
        return false;
    }

    // Whether a step of one thread happens before a step of the other one, both by their numbers from 1.
    bool happens_before(int64_t one, int64_t other) const { return nodes[other - 1].seen >= one - 1; }

private:
    struct Node {
        const void *address;    // of the step taken here, in the newest run
        int64_t seen;           // the newest step of the other thread that happens before it, -1: none
        int thread;             // that took it
        uint8_t effect;
        uint8_t sleeping;       // what the other thread's step did when it was taken here
        bool other_sleeps;      // … which sleeps
        bool race;              // the other thread has to go on here in a run of its own
    };
    std::vector<Node> nodes;
    size_t at = 0;              // steps of this run
    size_t known = 0;           // … that were taken in the run before
    int64_t seen[2];            // the newest step of the other thread that happens before a thread's next one

    static bool conflict(const void *one, uint8_t effect, const void *other, uint8_t other_effect) {
        const uint8_t changes = 10;
        return one == other && (((effect & changes) >> 1 & other_effect) || ((other_effect & changes) >> 1 & effect));
    }

    void look_for_race(const Node &node) {
        const int64_t before = seen[node.thread];
        int64_t i = static_cast<int64_t>(at) - 1;
        for (; i > before; i--)
            if (nodes[i].thread != node.thread && conflict(nodes[i].address, nodes[i].effect, node.address, node.effect))
                break;
        if (i <= before)
            return;
        seen[node.thread] = i;
        if (node.effect == LOCK && nodes[i].effect == WRITE)  // an unlock, before which nobody locks: it races with its lock
            for (i--; i > before; i--)
                if (nodes[i].thread != node.thread && nodes[i].address == node.address && nodes[i].effect & 2)
                    break;
        if (i > before)
            nodes[i].race = true;
    }
};
