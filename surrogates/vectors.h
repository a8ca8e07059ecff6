/* Vectors of the processor's width in C, for any processor. */
#ifndef MOTHERLODE_VECTORS_H
#define MOTHERLODE_VECTORS_H

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec value) { *(vec *)to = value; }

INLINE vec all(float value) {
#if defined(__AVX512F__)
    return (vec)_mm512_set1_ps(value);
#else
    return (vec){value, value, value, value, value, value, value, value};
#endif
}

INLINE float sum_of(vec x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
#endif
}

#endif
