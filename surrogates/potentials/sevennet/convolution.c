/* The equivariant convolution of SevenNet: gather, tensor product, weigh and sum in one pass over the edges, and its
 * reverse.
 *
 * A path couples a node feature of degree l to a spherical harmonic into a message of degree l'. For one edge the harmonic
 * and the Wigner 3j symbols make a matrix of 2l + 1 by 2l' + 1, the same for all channels; what is left is that matrix
 * times the channels, several at once in the lanes of a vector. As separate operations on all edges (e3nn) the messages of
 * an edge, thousands of numbers, go through memory for every path.
 *
 * Features are laid out component by component, channels last. All arrays are contiguous; sums run in the order of edges:
 * the same input gives the same bits.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"

#define MOST 7 /* components, of degree 3 */
#define MOST_HARMONICS 16

typedef struct {
    int32_t components;     /* 2l + 1 */
    int32_t out_components; /* 2l' + 1 */
    int32_t channels;       /* a multiple of 16 */
    int32_t feature;        /* where the node feature begins in a row */
    int32_t out;            /* where the message begins in its row */
    int32_t weight;         /* where the weights begin in a row */
    int32_t matrix;         /* where the matrix begins among those of an edge */
} Path;

/* Matrices as sums of harmonics: element k adds coefficient[i] times harmonic[i] for starts[k] <= i < starts[k + 1]. */
typedef struct {
    int64_t n_paths, n_elements, n_harmonics;
    const Path *paths;
    const int32_t *starts;
    const int32_t *harmonic;
    const float *coefficient;
    int64_t features, outs, weights; /* lengths of rows */
} Plan;

/* Matrices of up to LANES edges, one edge to a lane: n_elements x LANES. */
INLINE void make_matrices(const Plan *plan, int n, const float *harmonics, float *matrices) {
    float turned[MOST_HARMONICS * LANES] = {0};
    for (int e = 0; e < n; e++)
        for (int h = 0; h < plan->n_harmonics; h++) turned[h * LANES + e] = harmonics[e * plan->n_harmonics + h];
    for (int64_t k = 0; k < plan->n_elements; k++) {
        vec sum = all(0.0f);
        for (int32_t i = plan->starts[k]; i < plan->starts[k + 1]; i++)
            sum += plan->coefficient[i] * load(turned + plan->harmonic[i] * LANES);
        store(matrices + k * LANES, sum);
    }
}

INLINE void forward_path(const int in, const int out, int channels, const float *feature, const float *weight,
                         const float *matrix, float *sums) {
    for (int u = 0; u < channels; u += LANES) {
        vec x[MOST], w = load(weight + u);
        for (int i = 0; i < in; i++) x[i] = load(feature + i * channels + u);
        for (int o = 0; o < out; o++) {
            vec sum = matrix[o * LANES] * x[0];
            for (int i = 1; i < in; i++) sum += matrix[(i * out + o) * LANES] * x[i];
            float *to = sums + o * channels + u;
            store(to, load(to) + w * sum);
        }
    }
}

INLINE void reverse_path(const int in, const int out, int channels, const float *feature, const float *weight,
                         const float *matrix, const float *change, float *by_feature, float *by_weight,
                         float *by_matrix) {
    vec sums[MOST * MOST];
    for (int k = 0; k < in * out; k++) sums[k] = all(0.0f);
    for (int u = 0; u < channels; u += LANES) {
        vec x[MOST], by_x[MOST], w = load(weight + u), by_w = all(0.0f);
        for (int i = 0; i < in; i++) {
            x[i] = load(feature + i * channels + u);
            by_x[i] = load(by_feature + i * channels + u);
        }
        for (int o = 0; o < out; o++) {
            vec by_out = load(change + o * channels + u), weighted = w * by_out, sum = all(0.0f);
            for (int i = 0; i < in; i++) {
                float element = matrix[(i * out + o) * LANES];
                sum += element * x[i];
                by_x[i] += element * weighted;
                sums[i * out + o] += x[i] * weighted;
            }
            by_w += sum * by_out;
        }
        for (int i = 0; i < in; i++) store(by_feature + i * channels + u, by_x[i]);
        store(by_weight + u, by_w);
    }
    for (int k = 0; k < in * out; k++) by_matrix[k * LANES] = sum_of(sums[k]);
}

/* Calls a function of a path with its numbers of components as constants, so that its loops are unrolled. */
#define WITH_COMPONENTS(path, call)                   \
    switch (10 * (path)->components + (path)->out_components) { \
        case 11: call(1, 1); break;                   \
        case 13: call(1, 3); break;                   \
        case 15: call(1, 5); break;                   \
        case 17: call(1, 7); break;                   \
        case 31: call(3, 1); break;                   \
        case 33: call(3, 3); break;                   \
        case 35: call(3, 5); break;                   \
        case 37: call(3, 7); break;                   \
        case 51: call(5, 1); break;                   \
        case 53: call(5, 3); break;                   \
        case 55: call(5, 5); break;                   \
        case 57: call(5, 7); break;                   \
        case 71: call(7, 1); break;                   \
        case 73: call(7, 3); break;                   \
        case 75: call(7, 5); break;                   \
        case 77: call(7, 7); break;                   \
    }

/* sums (n_nodes x outs) starts as zeros; harmonics are n_edges x n_harmonics, weights n_edges x weights; `matrices` is
 * room for n_elements x 16 numbers. */
void convolve(const Plan *plan, int64_t n_edges, const int64_t *source, const int64_t *target, const float *features,
              const float *harmonics, const float *weights, float *matrices, float *sums) {
    for (int64_t start = 0; start < n_edges; start += LANES) {
        int n = n_edges - start < LANES ? (int)(n_edges - start) : LANES;
        make_matrices(plan, n, harmonics + start * plan->n_harmonics, matrices);
        for (int e = 0; e < n; e++) {
            const float *feature = features + source[start + e] * plan->features;
            const float *weight = weights + (start + e) * plan->weights;
            float *sum = sums + target[start + e] * plan->outs;
            for (const Path *p = plan->paths; p < plan->paths + plan->n_paths; p++) {
#define CALL(I, O)                                                                              \
    forward_path(I, O, p->channels, feature + p->feature, weight + p->weight,                   \
                 matrices + (int64_t)p->matrix * LANES + e, sum + p->out)
                WITH_COMPONENTS(p, CALL)
#undef CALL
            }
        }
    }
}

/* Derivatives given that by the sums (`change`). `by_features` starts as zeros; `matrices` and `by_matrices` are room for
 * n_elements x 16 numbers each. */
void convolve_reverse(const Plan *plan, int64_t n_edges, const int64_t *source, const int64_t *target,
                      const float *features, const float *harmonics, const float *weights, const float *change,
                      float *matrices, float *by_matrices, float *by_features, float *by_harmonics, float *by_weights) {
    for (int64_t start = 0; start < n_edges; start += LANES) {
        int n = n_edges - start < LANES ? (int)(n_edges - start) : LANES;
        make_matrices(plan, n, harmonics + start * plan->n_harmonics, matrices);
        memset(by_matrices, 0, (size_t)plan->n_elements * LANES * sizeof(float));
        for (int e = 0; e < n; e++) {
            const float *feature = features + source[start + e] * plan->features;
            const float *weight = weights + (start + e) * plan->weights;
            const float *by_sum = change + target[start + e] * plan->outs;
            float *by_feature = by_features + source[start + e] * plan->features;
            float *by_weight = by_weights + (start + e) * plan->weights;
            for (const Path *p = plan->paths; p < plan->paths + plan->n_paths; p++) {
                const int64_t matrix = (int64_t)p->matrix * LANES + e;
#define CALL(I, O)                                                                              \
    reverse_path(I, O, p->channels, feature + p->feature, weight + p->weight, matrices + matrix, by_sum + p->out, \
                 by_feature + p->feature, by_weight + p->weight, by_matrices + matrix)
                WITH_COMPONENTS(p, CALL)
#undef CALL
            }
        }
        float turned[MOST_HARMONICS * LANES] = {0};
        for (int64_t k = 0; k < plan->n_elements; k++) {
            vec by_element = load(by_matrices + k * LANES);
            for (int32_t i = plan->starts[k]; i < plan->starts[k + 1]; i++) {
                float *to = turned + plan->harmonic[i] * LANES;
                store(to, load(to) + plan->coefficient[i] * by_element);
            }
        }
        for (int e = 0; e < n; e++)
            for (int h = 0; h < plan->n_harmonics; h++)
                by_harmonics[(start + e) * plan->n_harmonics + h] = turned[h * LANES + e];
    }
}
