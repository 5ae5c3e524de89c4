/* Convolutions of 3 x 3 by Winograd's algorithm F(4 x 4, 3 x 3): Lavin and Gray 2015, https://arxiv.org/abs/1509.09308,
 * whose G, B and A these are. models/winograd.py compiles it for the processor at hand.
 *
 * Of each patch of 6 x 6 pixels, B^T d B: 36 numbers a channel, each the element of a matrix (tiles, channels). 36
 * products with the matrices (channels, filters) of the weights, G g G^T, give 36 numbers a filter, and A^T m A the
 * 4 x 4 pixels of the result: 36 multiplications for 144. Images are (image, row, column, channel), as torch's
 * channels_last has them. */

#include <stdlib.h>

#ifndef LANES
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#endif

#define EDGE 6
#define NUMBERS (EDGE * EDGE)
#define TILE 4
#define ROWS 6         /* of a product at once: their sums, two vectors each, stay in registers */
#define MOST_TILES 36  /* at once: what goes between the steps stays in the cache of a core */
#define COLUMNS 4      /* of a product that is summed over tiles */
#define SUMMED_TILES 128

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

const int winograd_lanes = LANES;

static inline vector load(const float *from) { return *(const vector *)from; }

static inline void store(float *to, vector values) { *(vector *)to = values; }

/* B^T d, of a column or a row of a patch: d[0], d[step], ... */
static inline void of_patch(const vector *d, vector *v, int step) {
    vector even = d[4 * step] - 4.0f * d[2 * step], odd = d[3 * step] - 4.0f * d[step];
    vector near_even = d[4 * step] - d[2 * step], near_odd = 2.0f * (d[3 * step] - d[step]);
    v[0] = 4.0f * d[0] - 5.0f * d[2 * step] + d[4 * step];
    v[step] = even + odd;
    v[2 * step] = even - odd;
    v[3 * step] = near_even + near_odd;
    v[4 * step] = near_even - near_odd;
    v[5 * step] = 4.0f * d[step] - 5.0f * d[3 * step] + d[5 * step];
}

/* A^T m, likewise. */
static inline void of_products(const vector *m, vector *y, int step) {
    vector sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    vector far_sum = m[3 * step] + m[4 * step], far_difference = m[3 * step] - m[4 * step];
    y[0] = m[0] + sum + far_sum;
    y[step] = difference + 2.0f * far_difference;
    y[2 * step] = sum + 4.0f * far_sum;
    y[3 * step] = difference + 8.0f * far_difference + m[5 * step];
}

/* A y, likewise: the transpose, for gradients. */
static inline void of_gradients(const vector *y, vector *m, int from, int to) {
    vector even = y[0] + y[2 * from], odd = y[from] + y[3 * from];
    vector far_even = y[0] + 4.0f * y[2 * from], far_odd = 2.0f * y[from] + 8.0f * y[3 * from];
    m[0] = y[0];
    m[to] = even + odd;
    m[2 * to] = even - odd;
    m[3 * to] = far_even + far_odd;
    m[4 * to] = far_even - far_odd;
    m[5 * to] = y[3 * from];
}

/* The channels from c of the patch whose upper left pixel is (top, left), zero beyond the edges, and B^T d B of it. */
static inline void transform_patch(const float *image, int height, int width, int channels, int c, int top, int left,
                                   vector *v) {
    vector half[NUMBERS];
    for (int i = 0; i < EDGE; i++)
        for (int j = 0; j < EDGE; j++) {
            int row = top + i, column = left + j;
            int inside = row >= 0 && row < height && column >= 0 && column < width;
            v[EDGE * i + j] = inside ? load(image + ((size_t)row * width + column) * channels + c) : (vector){0};
        }
    for (int j = 0; j < EDGE; j++) of_patch(v + j, half + j, EDGE);
    for (int i = 0; i < EDGE; i++) of_patch(half + EDGE * i, v + EDGE * i, 1);
}

/* m = v u. v: (tiles, channels); u: (filters / 2 LANES, channels, 2 LANES); m: (tiles, filters); tiles a multiple of
 * ROWS. Each sum is over the channels in their order, whatever else is computed with it. */
static void multiply(const float *v, const float *u, float *m, int tiles, int channels, int filters) {
    for (int t = 0; t < tiles; t += ROWS, v += ROWS * channels, m += ROWS * filters) {
        const float *weights = u;
        for (int f = 0; f < filters; f += 2 * LANES) {
            vector sums[ROWS][2] = {0};
            for (int c = 0; c < channels; c++, weights += 2 * LANES)
                for (int r = 0; r < ROWS; r++) {
                    sums[r][0] += v[r * channels + c] * load(weights);
                    sums[r][1] += v[r * channels + c] * load(weights + LANES);
                }
            for (int r = 0; r < ROWS; r++) {
                store(m + r * filters + f, sums[r][0]);
                store(m + r * filters + f + LANES, sums[r][1]);
            }
        }
    }
}

/* Padded by one pixel of zeros, stride 1.
 *
 * x: (images, height, width, channels), channels a multiple of LANES; u: (36, filters / 2 LANES, channels, 2 LANES),
 * filters a multiple of 2 LANES; bias: (filters), or NULL for none; y: (images, height, width, filters). Returns 0, or 1 where there is
 * no memory. */
int winograd_convolve(const float *x, const float *u, const float *bias, float *y, int images, int height, int width,
                      int channels, int filters, int threads) {
    int down = (height + TILE - 1) / TILE, across = (width + TILE - 1) / TILE, all = images * down * across;
    int rounds = (all + threads * MOST_TILES - 1) / (threads * MOST_TILES);
    int at_once = ((all + threads * rounds - 1) / (threads * rounds) + ROWS - 1) / ROWS * ROWS;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        /* Zeros, since rows beyond the last tile are computed too. */
        float *v = calloc((size_t)NUMBERS * at_once * channels, sizeof(float));
        float *m = malloc((size_t)NUMBERS * at_once * filters * sizeof(float));
        int has_memory = v != NULL && m != NULL;
        if (!has_memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic)
        for (int start = 0; start < all; start += at_once) {
            int tiles = all - start < at_once ? all - start : at_once;
            if (!has_memory) continue;
            for (int t = 0; t < tiles; t++) {
                int tile = start + t;
                int top = tile / across % down * TILE - 1, left = tile % across * TILE - 1;
                const float *image = x + (size_t)(tile / (down * across)) * height * width * channels;
                for (int c = 0; c < channels; c += LANES) {
                    vector patch[NUMBERS];
                    transform_patch(image, height, width, channels, c, top, left, patch);
                    for (int n = 0; n < NUMBERS; n++) store(v + ((size_t)n * at_once + t) * channels + c, patch[n]);
                }
            }
            for (int n = 0; n < NUMBERS; n++)
                multiply(v + (size_t)n * at_once * channels, u + (size_t)n * channels * filters,
                         m + (size_t)n * at_once * filters, (tiles + ROWS - 1) / ROWS * ROWS, channels, filters);
            for (int t = 0; t < tiles; t++) {
                int tile = start + t, image = tile / (down * across);
                int top = tile / across % down * TILE, left = tile % across * TILE;
                for (int f = 0; f < filters; f += LANES) {
                    vector products[NUMBERS], half[NUMBERS], shift = {0};
                    if (bias != NULL) shift = load(bias + f);
                    for (int n = 0; n < NUMBERS; n++) products[n] = load(m + ((size_t)n * at_once + t) * filters + f);
                    for (int j = 0; j < EDGE; j++) of_products(products + j, half + j, EDGE);
                    for (int i = 0; i < TILE; i++) of_products(half + EDGE * i, products + EDGE * i, 1);
                    for (int i = 0; i < TILE && top + i < height; i++)
                        for (int j = 0; j < TILE && left + j < width; j++) {
                            size_t pixel = ((size_t)image * height + top + i) * width + left + j;
                            store(y + pixel * filters + f, products[EDGE * i + j] + shift);
                        }
                }
            }
        }
        free(v);
        free(m);
    }
    return failed;
}

/* du += v^T m. v: (channels / LANES, SUMMED_TILES, LANES); m: (filters / 2 LANES, SUMMED_TILES, 2 LANES), each read from
 * one end to the other, since rows that are a power of two apart fall on each other in a cache; du: (channels, filters).
 */
static void add_products(const float *v, const float *m, float *du, int tiles, int channels, int filters) {
    for (int f = 0; f < filters; f += 2 * LANES, m += SUMMED_TILES * 2 * LANES)
        for (int c = 0; c < channels; c += COLUMNS) {
            const float *values = v + (size_t)(c / LANES) * SUMMED_TILES * LANES + c % LANES, *products = m;
            vector sums[COLUMNS][2];
            for (int k = 0; k < COLUMNS; k++)
                for (int half = 0; half < 2; half++)
                    sums[k][half] = load(du + (size_t)(c + k) * filters + f + half * LANES);
            for (int t = 0; t < tiles; t++, values += LANES, products += 2 * LANES)
                for (int k = 0; k < COLUMNS; k++) {
                    sums[k][0] += values[k] * load(products);
                    sums[k][1] += values[k] * load(products + LANES);
                }
            for (int k = 0; k < COLUMNS; k++)
                for (int half = 0; half < 2; half++)
                    store(du + (size_t)(c + k) * filters + f + half * LANES, sums[k][half]);
        }
}

/* The gradient by the transformed weights: of each of the 36 products the sum over all tiles, in their order.
 *
 * x as above; dy: (images, height, width, filters), the gradient by the result; du: (36, channels, filters), of zeros.
 * Returns 0, or 1 where there is no memory. */
int winograd_gradient(const float *x, const float *dy, float *du, int images, int height, int width, int channels,
                      int filters, int threads) {
    int down = (height + TILE - 1) / TILE, across = (width + TILE - 1) / TILE, all = images * down * across;
    float *v = malloc((size_t)NUMBERS * SUMMED_TILES * channels * sizeof(float));
    float *m = malloc((size_t)NUMBERS * SUMMED_TILES * filters * sizeof(float));
    int has_memory = v != NULL && m != NULL;
#pragma omp parallel num_threads(threads)
    for (int start = 0; has_memory && start < all; start += SUMMED_TILES) {
        int tiles = all - start < SUMMED_TILES ? all - start : SUMMED_TILES;
#pragma omp for
        for (int t = 0; t < tiles; t++) {
            int tile = start + t, image = tile / (down * across);
            int top = tile / across % down * TILE, left = tile % across * TILE;
            vector numbers[NUMBERS], half[NUMBERS];
            for (int c = 0; c < channels; c += LANES) {
                transform_patch(x + (size_t)image * height * width * channels, height, width, channels, c, top - 1,
                                left - 1, numbers);
                for (int n = 0; n < NUMBERS; n++)
                    store(v + ((size_t)(n * channels + c) * SUMMED_TILES + t * LANES), numbers[n]);
            }
            for (int f = 0; f < filters; f += LANES) {
                vector gradients[TILE * TILE];
                for (int i = 0; i < TILE; i++)
                    for (int j = 0; j < TILE; j++) {
                        size_t pixel = ((size_t)image * height + top + i) * width + left + j;
                        int inside = top + i < height && left + j < width;
                        gradients[TILE * i + j] = inside ? load(dy + pixel * filters + f) : (vector){0};
                    }
                for (int j = 0; j < TILE; j++) of_gradients(gradients + j, half + j, TILE, TILE);
                for (int i = 0; i < EDGE; i++) of_gradients(half + TILE * i, numbers + EDGE * i, 1, 1);
                int pair = f / (2 * LANES) * 2 * LANES;
                for (int n = 0; n < NUMBERS; n++)
                    store(m + ((size_t)(n * filters + pair) * SUMMED_TILES + t * 2 * LANES + f - pair), numbers[n]);
            }
        }
#pragma omp for
        for (int n = 0; n < NUMBERS; n++)
            add_products(v + (size_t)n * SUMMED_TILES * channels, m + (size_t)n * SUMMED_TILES * filters,
                         du + (size_t)n * channels * filters, tiles, channels, filters);
    }
    free(v);
    free(m);
    return !has_memory;
}
