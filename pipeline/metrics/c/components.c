/* Connected components of runs of pixels. */
#include "native.h"

static int64_t root_of(int64_t *roots, int64_t at)
{
    while (roots[at] != at)
        at = roots[at] = roots[roots[at]];
    return at;
}

/* A root and that of ``other`` become one: of two, the first run stays a root. */
static int64_t joined(int64_t *roots, int64_t root, int64_t other)
{
    other = root_of(roots, other);
    if (other < root)
        return roots[root] = other;
    roots[other] = root;
    return root;
}

typedef struct {
    const int64_t *places, *lengths, *codes;
    int64_t count, span;
} CodedRuns;

static void connect(const CodedRuns *runs, int64_t *roots)
{
    const int64_t *places = runs->places, *lengths = runs->lengths, *codes = runs->codes;
    int64_t above = 0, span = runs->span;
    for (int64_t at = 0; at < runs->count; at++) {
        roots[at] = at;
        if (codes[at] < 0)
            continue;
        int64_t root = at;
        if (at && codes[at - 1] == codes[at] && places[at - 1] + lengths[at - 1] == places[at])
            root = joined(roots, root, at - 1);
        while (above < at && places[above] + span + lengths[above] < places[at])
            above++;
        for (int64_t one = above; one < at && places[one] + span <= places[at] + lengths[at]; one++)
            if (codes[one] == codes[at])
                root = joined(roots, root, one);
    }
}

enum { CODE, AREA, LEFT, TOP, RIGHT, BOTTOM, FIELDS };

static void add_to(int64_t *fields, int64_t row, int64_t start, int64_t length)
{
    fields[AREA] += length;
    fields[LEFT] = start < fields[LEFT] ? start : fields[LEFT];
    fields[RIGHT] = start + length > fields[RIGHT] ? start + length : fields[RIGHT];
    fields[BOTTOM] = row + 1;
}

/* Roots become numbers of components; a root is met before all others of its component. */
static int64_t measure(const CodedRuns *runs, int64_t *roots, int64_t *table)
{
    int64_t found = 0;
    for (int64_t at = 0; at < runs->count; at++) {
        if (runs->codes[at] < 0) {
            roots[at] = -1;
            continue;
        }
        int64_t row = runs->places[at] / runs->span, start = runs->places[at] - row * runs->span;
        if (roots[at] == at) {
            const int64_t fields[FIELDS] = {runs->codes[at], 0, start, row, 0, 0};
            memcpy(table + found * FIELDS, fields, sizeof fields);
            roots[at] = found++;
        } else
            roots[at] = roots[roots[at]];
        add_to(table + roots[at] * FIELDS, row, start, runs->lengths[at]);
    }
    return found;
}

/* run_components.components: places, lengths, codes r r r of runs, room for the number of each
 * run's component w and for as many components' fields w, positions from row to row. How many
 * components there are. */
DECLARED(native_components)
{
    Arguments all;
    if (!take(&all, given, count, "rrrwwn"))
        return NULL;
    const int sizes[] = {8, 8, 8, 8, 8 * FIELDS};
    const Py_buffer *views = all.views;
    CodedRuns runs = {views[0].buf, views[1].buf, views[2].buf, views[0].len / 8, all.numbers[0]};
    int64_t found = 0;
    int fits = runs.span > 0 && are_of(views, sizes, 5, runs.count);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS connect(&runs, views[3].buf);
        found = measure(&runs, views[3].buf, views[4].buf);
        Py_END_ALLOW_THREADS
    }
    return ended(&all, fits, found);
}
