/* What shifts of a mask's borders cost. */
#include "native.h"

/* displacement._Matching.costs: squared distances r, positions r, moves r, sums w and how many are
 * known w, of each move; the distance from which nothing is known. Squares of chamfer distances up
 * to 10 pixels are float32 and multiples of 2**-24 at least, so that float64 adds thousands of them
 * exactly, in any order. */
DECLARED(native_costs)
{
    Arguments all;
    if (!take(&all, given, count, "rrrwwn"))
        return NULL;
    const Py_buffer *views = all.views;
    const float *squares = views[0].buf, unknown = (float)all.numbers[0];
    const int64_t *places = views[1].buf, *moves = views[2].buf;
    int64_t points = views[1].len / 8, shifts = views[2].len / 8, size = views[0].len / 4;
    const int sizes[] = {8, 8, 8};
    int fits =
        are_of(views + 2, sizes, 3, shifts) && views[0].len % 4 == 0 && views[1].len % 8 == 0;
    for (int64_t shift = 0; fits && shift < shifts; shift++) {
        double sum = 0;
        int64_t known = 0;
        for (int64_t at = 0; fits && at < points; at++) {
            int64_t place = places[at] + moves[shift];
            fits = place >= 0 && place < size;
            float square = fits ? squares[place] : unknown;
            sum += square < unknown ? square : 0;
            known += square < unknown;
        }
        ((double *)views[3].buf)[shift] = sum;
        ((int64_t *)views[4].buf)[shift] = known;
    }
    return ended(&all, fits, 0);
}
