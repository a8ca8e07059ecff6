/* CHGNet's message functions on edges, forward and reverse, a block of edges at a time.
 *
 * A block passes through gathering, matrix products, activations, layer norms and summing while it is in the core's own
 * caches; written out as operations on whole arrays (messages.py) the same work is bound by memory. What the reverse
 * reads again is stored once: `z`, what enters the first activation, and `pre`, what enters the layer norms.
 *
 * Rows of `z`, `pre`, `left`, `right`, `centre`, `neighbour` and `along` have 128 columns: the core's 64, then the gate's.
 * All arrays are contiguous and row by row; indices are 64-bit. Sums run in the order of edges: the same input gives the
 * same bits.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define FEATURES 64
#define BOTH (2 * FEATURES)
#define NORM_EPSILON 1e-5f

#include "vectors.h"

#ifndef BLOCK
#define BLOCK 24
#endif
#define VECTORS (FEATURES / LANES)

/* Registers hold a tile of a matrix product: TILE rows by two vectors. */
#if defined(__AVX512F__)
#define TILE 12
#else
#define TILE 6
#endif

typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* What follows the first linear layer; a null pointer where the weights have no such part. */
typedef struct {
    const float *hidden[2];     /* 64 x 64, core and gate */
    const float *transposed[2]; /* the same, transposed */
    const float *bias[2];       /* 64 */
    const float *norm[2];       /* 64, weight */
    const float *shift[2];      /* 64, bias */
} Gate;

/* 1 / (1 + e^-x). e^y is 2^n times the Taylor series of e^r with |r| <= ln(2)/2, whose remainder is 5e-9. */
INLINE vec series(vec r) {
    vec sum = all(1.0f / 5040);
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    return sum * r + 1.0f;
}

#if defined(__AVX512F__)
INLINE vec sigmoid(vec x) {
    /* Not beyond e^87, whose reciprocal is the smallest that needs no care. Of two operands the second is returned where
     * one is not a number. */
    __m512 exponent = _mm512_min_ps(_mm512_set1_ps(125.5f), (__m512)(x * -1.44269504f));
    __m512 whole = _mm512_roundscale_ps(exponent, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec power = (vec)_mm512_scalef_ps((__m512)series((vec)_mm512_sub_ps(exponent, whole) * 0.693147181f), whole);
    vec sum = 1.0f + power, guess = (vec)_mm512_rcp14_ps((__m512)sum);
    return guess * (2.0f - sum * guess);
}
#else
INLINE vec bounded(vec x, float low, float high) {
    ints below = x < all(low), above = x > all(high);
    ints bits = ((ints)x & ~below) | ((ints)all(low) & below);
    return (vec)((bits & ~above) | ((ints)all(high) & above));
}

INLINE vec sigmoid(vec x) {
    const float nearest = 12582912.0f; /* 1.5 x 2^23: adding it rounds to a whole number */
    vec exponent = bounded(-x, -87.0f, 87.0f);
    vec whole = (exponent * 1.44269504f + nearest) - nearest;
    /* ln(2) in two parts, the first of few digits: the difference is exact. */
    vec rest = exponent - whole * 0.693359375f + whole * 2.12194440e-4f;
    ints power = (__builtin_convertvector(whole, ints) + 127) << 23;
    return 1.0f / (1.0f + series(rest) * (vec)power);
}
#endif

/* c (rows x columns) = [c or bias or 0] + a (rows x depth) b (depth x columns); rows are a multiple of TILE, columns of
 * LANES. */
enum { FROM_ZERO, FROM_BIAS, FROM_C };

INLINE void tile(int depth, const float *a, int a_step, const float *b, int b_step, float *c, int c_step,
                 const float *bias, const int from, const int width) {
    vec sums[TILE][2];
#pragma GCC unroll 12
    for (int r = 0; r < TILE; r++)
#pragma GCC unroll 2
        for (int v = 0; v < width; v++)
            sums[r][v] = from == FROM_C      ? load(c + r * c_step + v * LANES)
                         : from == FROM_BIAS ? load(bias + v * LANES)
                                             : all(0.0f);
    for (int k = 0; k < depth; k++) {
        vec row[2];
#pragma GCC unroll 2
        for (int v = 0; v < width; v++) row[v] = load(b + k * b_step + v * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < TILE; r++) {
            vec factor = all(a[r * a_step + k]);
#pragma GCC unroll 2
            for (int v = 0; v < width; v++) sums[r][v] += factor * row[v];
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < TILE; r++)
#pragma GCC unroll 2
        for (int v = 0; v < width; v++) store(c + r * c_step + v * LANES, sums[r][v]);
}

INLINE void product(int rows, int depth, int columns, const float *a, int a_step, const float *b, float *c, int c_step,
                    const float *bias, const int from) {
    int column = 0;
    for (; column + 2 * LANES <= columns; column += 2 * LANES)
        for (int row = 0; row < rows; row += TILE)
            tile(depth, a + row * a_step, a_step, b + column, columns, c + row * c_step + column, c_step,
                 bias + column, from, 2);
    for (; column < columns; column += LANES)
        for (int row = 0; row < rows; row += TILE)
            tile(depth, a + row * a_step, a_step, b + column, columns, c + row * c_step + column, c_step,
                 bias + column, from, 1);
}

INLINE int whole_tiles(int rows) { return (rows + TILE - 1) / TILE * TILE; }

/* Mean and 1 / deviation of 64 numbers. */
typedef struct {
    float mean, scale;
} Moments;

INLINE Moments moments(const float *row) {
    vec total = all(0.0f), squares = all(0.0f);
    for (int v = 0; v < VECTORS; v++) total += load(row + v * LANES);
    float mean = sum_of(total) / FEATURES;
    for (int v = 0; v < VECTORS; v++) {
        vec apart = load(row + v * LANES) - mean;
        squares += apart * apart;
    }
    return (Moments){mean, 1.0f / sqrtf(sum_of(squares) / FEATURES + NORM_EPSILON)};
}

/* One half of a row of `pre` after its layer norm, where there is one; and in `unit` before that norm's weight and bias. */
INLINE void normalised(const float *row, const Gate *gate, int half, Moments by, vec *unit, vec *values) {
    for (int v = 0; v < VECTORS; v++) {
        unit[v] = values[v] = load(row + v * LANES);
        if (gate->norm[half]) {
            unit[v] = (values[v] - by.mean) * by.scale;
            values[v] = unit[v] * load(gate->norm[half] + v * LANES) + load(gate->shift[half] + v * LANES);
        }
    }
}

/* Messages (rows x 64) from z (rows x 128, overwritten). What the reverse reads is saved: z, where there is a hidden
 * layer, `pre` and its moments. */
INLINE void gated(int rows, float *z, const Gate *gate, float *saved_z, float *saved_pre, Moments *saved_moments,
                  float *messages) {
    float pre[BLOCK * BOTH];
    const float *after = z;
    if (gate->hidden[0]) {
        memcpy(saved_z, z, (size_t)rows * BOTH * sizeof(float));
        for (int i = 0; i < rows * BOTH; i += LANES) store(z + i, load(z + i) * sigmoid(load(z + i)));
        for (int half = 0; half < 2; half++)
            product(whole_tiles(rows), FEATURES, FEATURES, z + half * FEATURES, BOTH, gate->hidden[half],
                    pre + half * FEATURES, BOTH, gate->bias[half], FROM_BIAS);
        after = pre;
    }
    memcpy(saved_pre, after, (size_t)rows * BOTH * sizeof(float));
    if (gate->norm[0])
        for (int i = 0; i < 2 * rows; i++) saved_moments[i] = moments(after + i * FEATURES);
    for (int r = 0; r < rows; r++) {
        vec unit[VECTORS], core[VECTORS], opening[VECTORS];
        normalised(after + r * BOTH, gate, 0, saved_moments[2 * r], unit, core);
        normalised(after + r * BOTH + FEATURES, gate, 1, saved_moments[2 * r + 1], unit, opening);
        for (int v = 0; v < VECTORS; v++)
            store(messages + r * FEATURES + v * LANES, core[v] * sigmoid(core[v]) * sigmoid(opening[v]));
    }
}

INLINE void norm_reverse(vec *change, const vec *unit, const Gate *gate, int half, Moments by) {
    if (!gate->norm[half]) return;
    vec total = all(0.0f), along = all(0.0f);
    for (int v = 0; v < VECTORS; v++) {
        change[v] *= load(gate->norm[half] + v * LANES);
        total += change[v];
        along += change[v] * unit[v];
    }
    float mean = sum_of(total) / FEATURES, slope = sum_of(along) / FEATURES;
    for (int v = 0; v < VECTORS; v++) change[v] = by.scale * (change[v] - mean - unit[v] * slope);
}

/* Of one row: the derivative by `pre` (128) given that by the message times its weight (`change`, 64), and where there
 * are weights, that by the weight (64), added to `by_weight`. */
INLINE void row_reverse(const float *pre, const Moments *by, const float *change, const float *weight, float *by_weight,
                        const Gate *gate, float *by_pre) {
    vec core[VECTORS], opening[VECTORS], core_unit[VECTORS], opening_unit[VECTORS], by_core[VECTORS],
        by_opening[VECTORS];
    normalised(pre, gate, 0, by[0], core_unit, core);
    normalised(pre + FEATURES, gate, 1, by[1], opening_unit, opening);
    for (int v = 0; v < VECTORS; v++) {
        vec slope = sigmoid(core[v]), open = sigmoid(opening[v]);
        vec activated = core[v] * slope;
        vec by_message = load(change + v * LANES);
        if (weight) {
            store(by_weight + v * LANES, load(by_weight + v * LANES) + by_message * activated * open);
            by_message *= load(weight + v * LANES);
        }
        /* d(x s(x))/dx = s + x s (1 - s) */
        by_core[v] = by_message * open * (slope + activated * (1.0f - slope));
        by_opening[v] = by_message * activated * open * (1.0f - open);
    }
    norm_reverse(by_core, core_unit, gate, 0, by[0]);
    norm_reverse(by_opening, opening_unit, gate, 1, by[1]);
    for (int v = 0; v < VECTORS; v++) {
        store(by_pre + v * LANES, by_core[v]);
        store(by_pre + FEATURES + v * LANES, by_opening[v]);
    }
}

/* From the derivative by `pre` (rows x 128, overwritten) to that by z (rows x 128). */
INLINE float *hidden_reverse(int rows, float *by_pre, const float *saved_z, const Gate *gate, float *by_z) {
    if (!gate->hidden[0]) return by_pre;
    for (int half = 0; half < 2; half++)
        product(whole_tiles(rows), FEATURES, FEATURES, by_pre + half * FEATURES, BOTH, gate->transposed[half],
                by_z + half * FEATURES, BOTH, 0, FROM_ZERO);
    for (int i = 0; i < rows * BOTH; i += LANES) {
        vec z = load(saved_z + i), s = sigmoid(z);
        store(by_z + i, load(by_z + i) * (s + z * s * (1.0f - s)));
    }
    return by_z;
}

INLINE void add_row(float *to, const float *from, int columns) {
    for (int i = 0; i < columns; i += LANES) store(to + i, load(to + i) + load(from + i));
}

INLINE void add_product(float *to, const float *first, const float *second) {
    for (int i = 0; i < FEATURES; i += LANES) store(to + i, load(to + i) + load(first + i) * load(second + i));
}

INLINE int smaller(int64_t a, int b) { return a < b ? (int)a : b; }

/* Along bonds, both ways, summed at the atoms they are for (`sums`, n_atoms x 64, starts as zeros). Rows of z and pre are saved block by block: of its bonds, then of the same bonds reversed. */
void atom_messages(int64_t n_bonds, const int64_t *first, const int64_t *second, const float *centre,
                   const float *neighbour, const float *along, const float *weight, const Gate *gate, float *saved_z,
                   float *saved_pre, Moments *saved_moments, float *sums) {
    float z[BLOCK * BOTH], messages[BLOCK * FEATURES];
    memset(z, 0, sizeof z);
    for (int64_t start = 0; start < n_bonds; start += BLOCK / 2) {
        const int n = smaller(n_bonds - start, BLOCK / 2);
        for (int way = 0; way < 2; way++) {
            const int64_t *to = (way ? second : first) + start, *of = (way ? first : second) + start;
            for (int r = 0; r < n; r++)
                for (int i = 0; i < BOTH; i += LANES)
                    store(z + (way * n + r) * BOTH + i, load(centre + to[r] * BOTH + i) +
                                                            load(neighbour + of[r] * BOTH + i) +
                                                            load(along + (start + r) * BOTH + i));
        }
        gated(2 * n, z, gate, saved_z + 2 * start * BOTH, saved_pre + 2 * start * BOTH,
              saved_moments + 4 * start, messages);
        for (int way = 0; way < 2; way++) {
            const int64_t *to = (way ? second : first) + start;
            for (int r = 0; r < n; r++)
                add_product(sums + to[r] * FEATURES, messages + (way * n + r) * FEATURES,
                            weight + (start + r) * FEATURES);
        }
    }
}

/* Derivatives given that by the sums (`change`, n_atoms x 64). `by_centre` and `by_neighbour` start as zeros. */
void atom_messages_reverse(int64_t n_bonds, const int64_t *first, const int64_t *second, const float *change,
                           const float *weight, const Gate *gate, const float *saved_z, const float *saved_pre,
                           const Moments *saved_moments, float *by_centre, float *by_neighbour, float *by_along, float *by_weight) {
    float by_pre[BLOCK * BOTH], by_z[BLOCK * BOTH];
    memset(by_pre, 0, sizeof by_pre);
    for (int64_t start = 0; start < n_bonds; start += BLOCK / 2) {
        const int n = smaller(n_bonds - start, BLOCK / 2);
        memset(by_weight + start * FEATURES, 0, (size_t)n * FEATURES * sizeof(float));
        for (int way = 0; way < 2; way++) {
            const int64_t *to = (way ? second : first) + start;
            for (int r = 0; r < n; r++)
                row_reverse(saved_pre + (2 * start + way * n + r) * BOTH,
                            saved_moments + 2 * (2 * start + way * n + r), change + to[r] * FEATURES,
                            weight + (start + r) * FEATURES, by_weight + (start + r) * FEATURES, gate,
                            by_pre + (way * n + r) * BOTH);
        }
        const float *found = hidden_reverse(2 * n, by_pre, saved_z + 2 * start * BOTH, gate, by_z);
        for (int way = 0; way < 2; way++) {
            const int64_t *to = (way ? second : first) + start, *of = (way ? first : second) + start;
            for (int r = 0; r < n; r++) {
                add_row(by_centre + to[r] * BOTH, found + (way * n + r) * BOTH, BOTH);
                add_row(by_neighbour + of[r] * BOTH, found + (way * n + r) * BOTH, BOTH);
            }
        }
        for (int i = 0; i < n * BOTH; i += LANES)
            store(by_along + start * BOTH + i, load(found + i) + load(found + n * BOTH + i));
    }
}

/* z of a block of angles: left arm, right arm, and the angle's own features (depth of them) times a matrix. */
INLINE void gather_angles(int n, int64_t start, const int64_t *left_arm, const int64_t *right_arm, const float *left,
                          const float *right, const float *angle, int64_t depth, const float *matrix, float *own, float *z) {
    for (int r = 0; r < n; r++)
        for (int i = 0; i < BOTH; i += LANES)
            store(z + r * BOTH + i, load(left + left_arm[start + r] * BOTH + i) +
                                        load(right + right_arm[start + r] * BOTH + i));
    memcpy(own, angle + start * depth, (size_t)n * depth * sizeof(float));
    product(whole_tiles(n), depth, BOTH, own, depth, matrix, z, BOTH, 0, FROM_C);
}

/* Along angles, summed at their left arms. */
void bond_messages(int64_t n_angles, const int64_t *left_arm, const int64_t *right_arm, const float *left,
                   const float *right, const float *angle, int64_t depth, const float *matrix, const float *weight,
                   const Gate *gate, float *saved_z, float *saved_pre, Moments *saved_moments, float *sums) {
    float z[BLOCK * BOTH], own[BLOCK * BOTH], messages[BLOCK * FEATURES];
    memset(z, 0, sizeof z);
    memset(own, 0, sizeof own);
    for (int64_t start = 0; start < n_angles; start += BLOCK) {
        int n = smaller(n_angles - start, BLOCK);
        gather_angles(n, start, left_arm, right_arm, left, right, angle, depth, matrix, own, z);
        gated(n, z, gate, saved_z + start * BOTH, saved_pre + start * BOTH,
              saved_moments + 2 * start, messages);
        for (int r = 0; r < n; r++)
            add_product(sums + left_arm[start + r] * FEATURES, messages + r * FEATURES,
                        weight + right_arm[start + r] * FEATURES);
    }
}

/* What is added to the features of each angle. */
void angle_update(int64_t n_angles, const int64_t *left_arm, const int64_t *right_arm, const float *left,
                  const float *right, const float *angle, int64_t depth, const float *matrix, const Gate *gate,
                  float *saved_z, float *saved_pre, Moments *saved_moments, float *added) {
    float z[BLOCK * BOTH], own[BLOCK * BOTH];
    memset(z, 0, sizeof z);
    memset(own, 0, sizeof own);
    for (int64_t start = 0; start < n_angles; start += BLOCK) {
        int n = smaller(n_angles - start, BLOCK);
        gather_angles(n, start, left_arm, right_arm, left, right, angle, depth, matrix, own, z);
        gated(n, z, gate, saved_z + start * BOTH, saved_pre + start * BOTH,
              saved_moments + 2 * start, added + start * FEATURES);
    }
}

/* Derivatives of `bond_messages`, given that by its sums (`change`, n_arms x 64), or, where `weight` is null, of
 * `angle_update`, given that by what it adds (n_angles x 64). `transposed` is the matrix, 128 x depth. `by_left`,
 * `by_right` and `by_weight` start as zeros. */
void angles_reverse(int64_t n_angles, const int64_t *left_arm, const int64_t *right_arm, const float *change, int64_t depth,
                    const float *transposed, const float *weight, const Gate *gate, const float *saved_z,
                    const float *saved_pre, const Moments *saved_moments, float *by_left, float *by_right, float *by_angle, float *by_weight) {
    float by_pre[BLOCK * BOTH], by_z[BLOCK * BOTH], by_own[BLOCK * BOTH];
    memset(by_pre, 0, sizeof by_pre);
    memset(by_z, 0, sizeof by_z);
    for (int64_t start = 0; start < n_angles; start += BLOCK) {
        int n = smaller(n_angles - start, BLOCK);
        for (int r = 0; r < n; r++) {
            int64_t to = left_arm[start + r], of = right_arm[start + r];
            const float *pre = saved_pre + (start + r) * BOTH;
            const Moments *by = saved_moments + 2 * (start + r);
            if (weight)
                row_reverse(pre, by, change + to * FEATURES, weight + of * FEATURES, by_weight + of * FEATURES, gate,
                            by_pre + r * BOTH);
            else
                row_reverse(pre, by, change + (start + r) * FEATURES, 0, 0, gate, by_pre + r * BOTH);
        }
        const float *found = hidden_reverse(n, by_pre, saved_z + start * BOTH, gate, by_z);
        for (int r = 0; r < n; r++) {
            add_row(by_left + left_arm[start + r] * BOTH, found + r * BOTH, BOTH);
            add_row(by_right + right_arm[start + r] * BOTH, found + r * BOTH, BOTH);
        }
        product(whole_tiles(n), BOTH, depth, found, BOTH, transposed, by_own, depth, 0, FROM_ZERO);
        memcpy(by_angle + start * depth, by_own, (size_t)n * depth * sizeof(float));
    }
}
