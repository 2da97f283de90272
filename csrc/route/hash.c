/* hash.c -- our 64-bit multiply-fold hash: 8 bytes a step, one 64x64->128 multiply each, folded by xor.
 *
 * Used for rendezvous (session x worker) and table look-ups. Not for secrets: a caller who is attacked through
 * collisions passes a random seed. */
#include <string.h>

#include "gdp/load.h"

static const uint64_t K0 = 0x9e3779b97f4a7c15ull, K1 = 0xd6e8feb86659fd93ull;

static uint64_t fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t gdp_hash(const void *bytes, size_t len, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t h = seed ^ fold(len ^ K0, K1);
    uint64_t word = 0;
    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = fold(h ^ word, K0) + K1;
    }
    word = 0;
    if (len) memcpy(&word, p, len);
    return fold(h ^ word ^ K1, K0 ^ (h >> 29));
}
