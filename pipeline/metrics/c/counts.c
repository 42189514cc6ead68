/* Runs counted by their values, and the runs of one mask of two. */
#include "native.h"

/* confusion.count_runs: values r r, lengths r, tables of 256 r r, counts w of side * side, side. */
DECLARED(native_add_counts)
{
    Arguments all;
    if (!take(&all, given, count, "rrrrrwn"))
        return NULL;
    const Py_buffer *views = all.views;
    const uint8_t *truth = views[0].buf, *prediction = views[1].buf;
    const int64_t *lengths = views[2].buf, side = all.numbers[0];
    const uint16_t *rows = views[3].buf, *columns = views[4].buf;
    int64_t *counts = views[5].buf;
    const int sizes[] = {1, 1, 8}, table[] = {2, 2}, cells[] = {8};
    int fits = are_of(views, sizes, 3, views[0].len) && are_of(views + 3, table, 2, 256) &&
               side > 0 && side < 1 << 17 && are_of(views + 5, cells, 1, side * side);
    for (int value = 0; fits && value < 256; value++)
        fits = rows[value] < side && columns[value] < side;
    for (int64_t at = 0; fits && at < views[0].len; at++)
        counts[rows[truth[at]] * side + columns[prediction[at]]] += lengths[at];
    return ended(&all, fits, 0);
}

/* Prints of class maps: places, lengths, classes r r r; room for flat positions of 32 bits and for
 * classes of 16 w w; bits and pixels in a row. How many runs of one class there are. */
DECLARED(native_one_side)
{
    Arguments all;
    if (!take(&all, given, count, "rrrwwnn"))
        return NULL;
    const Py_buffer *views = all.views;
    const int64_t *places = views[0].buf, *lengths = views[1].buf;
    const uint16_t *classes = views[2].buf;
    uint32_t *positions = views[3].buf;
    uint16_t *kept = views[4].buf;
    const int sizes[] = {8, 8, 2, 4, 2};
    int64_t runs = views[2].len / 2, span = all.numbers[0], width = all.numbers[1], left = 0;
    int fits = are_of(views, sizes, 5, runs) && span > 0, starts_row = 1;
    for (int64_t at = 0; fits && at < runs; at++) {
        if (lengths[at] && (starts_row || classes[at] != kept[left - 1])) {
            positions[left] = (uint32_t)(places[at] - places[at] / span * (span - width));
            kept[left++] = classes[at];
        }
        starts_row = !lengths[at];
    }
    return ended(&all, fits, left);
}
