/* An ordered index of 256-bit distances to one point, each with a slot number, and the XOR-nearest entries of it.
 *
 * Two arrays sorted together, the leading 64 bits of each distance and its slot; the whole distance, by slot,
 * decides ties. Entries that share a prefix stand together, whatever point XOR measures from, so the nearest to any
 * target are found by splitting ranges.
 */
#ifndef FASTMARKET_KEYINDEX_H
#define FASTMARKET_KEYINDEX_H

#include <stddef.h>
#include <stdlib.h>

#include "key256.h"

/* A range this short is put in order by insertion, a longer one is split first. */
#define FM_SORT_UP_TO 24
/* For more than this many the index is split from its root; for fewer, a window around the target's place. */
#define FM_WINDOW 128

typedef struct {
    uint64_t far; /* the leading 64 bits of the distance to the target */
    int32_t slot;
} fm_found;

typedef struct {
    uint64_t *lead; /* ascending */
    int32_t *slots; /* beside it */
    fm_key *whole;  /* by slot */
    fm_found *row;  /* the last answer; room for every entry */
    ptrdiff_t count;
    ptrdiff_t capacity;
} fm_index;

static inline void fm_index_free(fm_index *index) {
    free(index->lead);
    free(index->slots);
    free(index->whole);
    free(index->row);
}

/* Room for that many entries; 0, or -1 where there is no memory (the index is as it was). */
static inline int fm_index_reserve(fm_index *index, ptrdiff_t capacity) {
    void *grown = realloc(index->lead, (size_t)capacity * sizeof *index->lead);
    if (!grown) return -1;
    index->lead = (uint64_t *)grown;
    grown = realloc(index->slots, (size_t)capacity * sizeof *index->slots);
    if (!grown) return -1;
    index->slots = (int32_t *)grown;
    grown = realloc(index->whole, (size_t)capacity * sizeof *index->whole);
    if (!grown) return -1;
    index->whole = (fm_key *)grown;
    grown = realloc(index->row, (size_t)capacity * sizeof *index->row);
    if (!grown) return -1;
    index->row = (fm_found *)grown;
    index->capacity = capacity;
    return 0;
}

/* The first position whose leading bits are not below `lead`. */
static inline ptrdiff_t fm_index_lower(const fm_index *index, uint64_t lead) {
    ptrdiff_t base = 0, size = index->count;
    while (size > 1) {
        ptrdiff_t half = size >> 1;
        base += index->lead[base + half - 1] < lead ? half : 0; /* no branch to mispredict */
        size -= half;
    }
    return base + (size == 1 && index->lead[base] < lead);
}

/* Where `d` stands, or would; `known` tells which. */
static inline ptrdiff_t fm_index_place(const fm_index *index, const fm_key *d, int *known) {
    ptrdiff_t at = fm_index_lower(index, d->w[0]);
    *known = 0;
    for (; at < index->count && index->lead[at] == d->w[0]; at++) {
        int order = fm_key_compare(&index->whole[index->slots[at]], d);
        if (order >= 0) {
            *known = order == 0;
            break;
        }
    }
    return at;
}

/* Puts an absent distance at the position fm_index_place gave; there must be room. */
static inline void fm_index_insert(fm_index *index, ptrdiff_t at, const fm_key *d, int32_t slot) {
    size_t behind = (size_t)(index->count - at);
    memmove(&index->lead[at + 1], &index->lead[at], behind * sizeof *index->lead);
    memmove(&index->slots[at + 1], &index->slots[at], behind * sizeof *index->slots);
    index->lead[at] = d->w[0];
    index->slots[at] = slot;
    index->whole[slot] = *d;
    index->count++;
}

/* Takes out the entry at a position; its slot. */
static inline int32_t fm_index_remove(fm_index *index, ptrdiff_t at) {
    int32_t slot = index->slots[at];
    size_t behind = (size_t)(--index->count - at);
    memmove(&index->lead[at], &index->lead[at + 1], behind * sizeof *index->lead);
    memmove(&index->slots[at], &index->slots[at + 1], behind * sizeof *index->slots);
    return slot;
}

/* ---- the nearest --------------------------------------------------------------------------------------- */

static inline int fm_index_nearer(const fm_index *index, const fm_key *target, fm_found a, fm_found b) {
    fm_key x, y;
    if (a.far != b.far) return a.far < b.far;
    fm_key_xor(&x, &index->whole[a.slot], target);
    fm_key_xor(&y, &index->whole[b.slot], target);
    return fm_key_compare(&x, &y) < 0;
}

/* Writes a range into `row` in order of distance, by insertion. */
static inline void fm_index_sort_range(const fm_index *index, const fm_key *target, ptrdiff_t low, ptrdiff_t high,
                                       fm_found *row) {
    for (ptrdiff_t i = 0; i < high - low; i++) {
        fm_found item = {index->lead[low + i] ^ target->w[0], index->slots[low + i]};
        ptrdiff_t at = i;
        for (; at && fm_index_nearer(index, target, item, row[at - 1]); at--) row[at] = row[at - 1];
        row[at] = item;
    }
}

/* Appends a range to the row in order of distance until `wanted` are there; how many are. The nearer half comes
 * first, split at the first bit that differs inside the range: each level uses up a bit, so 64 are the most. */
static ptrdiff_t fm_index_emit(fm_index *index, const fm_key *target, ptrdiff_t low, ptrdiff_t high,
                               ptrdiff_t wanted, ptrdiff_t done) {
    if (done >= wanted || low >= high) return done;
    uint64_t apart = index->lead[low] ^ index->lead[high - 1];
    if (high - low <= FM_SORT_UP_TO || apart == 0) {
        fm_index_sort_range(index, target, low, high, index->row + done);
        return done + high - low;
    }
    uint64_t bit = (uint64_t)1 << (63 - fm_clz64(apart));
    ptrdiff_t split = low, right = high;
    while (split < right) {
        ptrdiff_t middle = (split + right) >> 1;
        if (index->lead[middle] & bit) right = middle;
        else split = middle + 1;
    }
    if (target->w[0] & bit) {
        done = fm_index_emit(index, target, split, high, wanted, done);
        return fm_index_emit(index, target, low, split, wanted, done);
    }
    done = fm_index_emit(index, target, low, split, wanted, done);
    return fm_index_emit(index, target, split, high, wanted, done);
}

/* The smallest range of one common prefix with the target that holds `wanted` entries or more.
 *
 * Entries sharing a prefix with the target stand together around its place. So if enough share it, some run of
 * `wanted` neighbours touching that place does, and the two ends of a run tell how long its prefix is. */
static inline void fm_index_narrow(const fm_index *index, uint64_t lead, ptrdiff_t wanted, ptrdiff_t *low,
                                   ptrdiff_t *high) {
    ptrdiff_t place = fm_index_lower(index, lead);
    ptrdiff_t first = place > wanted ? place - wanted : 0;
    ptrdiff_t last = place < index->count - wanted ? place : index->count - wanted;
    uint64_t spread = UINT64_MAX;
    for (ptrdiff_t i = first; i <= last; i++) {
        uint64_t ends = (index->lead[i] ^ lead) | (index->lead[i + wanted - 1] ^ lead);
        spread = ends < spread ? ends : spread;
    }
    spread = spread ? UINT64_MAX >> fm_clz64(spread) : 0;
    *low = *high = place;
    while (*low > 0 && (index->lead[*low - 1] ^ lead) <= spread) --*low;
    while (*high < index->count && (index->lead[*high] ^ lead) <= spread) ++*high;
}

/* Fills the row with the entries nearest to `target` (itself a distance to the index's point), closest first; how
 * many of the row are the answer. */
static inline ptrdiff_t fm_index_nearest(fm_index *index, const fm_key *target, ptrdiff_t wanted) {
    ptrdiff_t low = 0, high = index->count;
    if (wanted > index->count) wanted = index->count;
    if (wanted > 0 && wanted <= FM_WINDOW) fm_index_narrow(index, target->w[0], wanted, &low, &high);
    fm_index_emit(index, target, low, high, wanted, 0);
    return wanted;
}

#endif
