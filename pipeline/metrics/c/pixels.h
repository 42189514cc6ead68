/* Pixels of a byte each, 64 at a time. */
#ifndef MASKMILL_PIXELS_H
#define MASKMILL_PIXELS_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bits of 64 bytes that are not those of the other 64; each eighth is one of eight bits. */
static inline uint64_t differing(const uint8_t *one, const uint8_t *other)
{
    uint64_t bits = 0;
#ifdef __SSE2__
    for (int at = 0; at < 64; at += 16) {
        __m128i left = _mm_loadu_si128((const __m128i *)(one + at));
        __m128i right = _mm_loadu_si128((const __m128i *)(other + at));
        int same = _mm_movemask_epi8(_mm_cmpeq_epi8(left, right));
        bits |= (uint64_t)(uint16_t)~same << at;
    }
#else
    const uint64_t low = 0x7f7f7f7f7f7f7f7fu;
    for (int at = 0; at < 64; at += 8) {
        uint64_t left, right, flags;
        memcpy(&left, one + at, 8);
        memcpy(&right, other + at, 8);
        left ^= right;
        flags = (((left & low) + low) | left) & ~low; /* the highest bit of each byte but 0 */
        bits |=
            (flags >> 7) * 0x0102040810204080u >> 56 << at; /* which a product brings together */
    }
#endif
    return bits;
}

/* Bits of the first pixels, of at most so many. */
static inline uint64_t first_bits(int64_t count)
{
    return count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0;
}

#endif
