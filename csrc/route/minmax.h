/* minmax.h -- in place of fmin and fmax, which are calls: sixteen of them in the life of a request. */
#ifndef GDP_MINMAX_H
#define GDP_MINMAX_H

/* Where one is not a number, the second; as the vectors' minimum does. */
static inline double lesser(double a, double b)
{
    return a < b ? a : b;
}

static inline double greater(double a, double b)
{
    return a > b ? a : b;
}

#endif
