// The kernels of gpu.py: what happens between the matrix products, in as few passes as possible.
//
// All of it waits for memory, so what counts is how often an array is read or written. Two forms
// are enough. Element by element: each thread has one. Row by row: each block has a row, its threads
// take every blockDim.x-th column, and `reduce` brings them together. No atomic operations: every
// sum has one order, and the same input gives the same bits.
//
// All arrays are float32 and contiguous; [rows, columns] unless said otherwise. Each kernel is
// compared with the function of its name in functional.py. Left out: half precision (gpu.py gives
// it to the matrix products alone), and vector loads.

#define KERNEL extern "C" __global__ void

typedef long long Index;            // arrays may have more than 2^31 elements
typedef unsigned long long Bits;

__device__ Index element() { return blockIdx.x * (Index)blockDim.x + threadIdx.x; }

struct Add { __device__ float operator()(float a, float b) const { return a + b; } };
struct Larger { __device__ float operator()(float a, float b) const { return a > b ? a : b; } };

// All x of a block as one number, the same in every thread. Every thread must come here.
template <class Op> __device__ float reduce(float x, Op op) {
    __shared__ float of_warp[32];
    for (int distance = 16; distance; distance /= 2)
        x = op(x, __shfl_xor_sync(0xffffffffu, x, distance));
    __syncthreads();                // the readers of the last reduction are through
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warp[0];
    for (int warp = 1; warp < blockDim.x / 32; warp++) x = op(x, of_warp[warp]);
    return x;
}

// Number i of the stream `seed`, uniform in [0, 1): SplitMix64 (Steele, Lea and Flood 2014). Every
// thread can compute its own, and compute it again in the backward pass.
__device__ float random_number(Bits seed, Index i) {
    Bits z = seed + (Bits)(i + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return ((z ^ (z >> 31)) >> 40) * (1.0f / (1 << 24));
}

// 0 with probability p, else 1/(1-p), which the caller has computed
__device__ float dropout_scale(float p, float kept, Bits seed, Index i) {
    return p == 0 || random_number(seed, i) >= p ? kept : 0;
}

// --- random numbers, dropout

KERNEL uniform(float *x, Bits seed, Index n) {
    Index i = element();
    if (i < n) x[i] = random_number(seed, i);
}

KERNEL dropout(const float *x, float *y, float p, float kept, Bits seed, Index n) {
    Index i = element();
    if (i < n) y[i] = x[i] * dropout_scale(p, kept, seed, i);
}

// --- linear

KERNEL add_bias(float *y, const float *bias, int columns) {
    y += blockIdx.x * (Index)columns;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) y[j] += bias[j];
}

// The leading half of each float, rounded to the nearest, ties to even: what a bfloat16 is
KERNEL to_bfloat16(const float *x, unsigned short *y, Index n) {
    Index i = element();
    if (i >= n) return;
    unsigned int bits = __float_as_uint(x[i]);
    unsigned int rounded = bits + 0x7fff + ((bits >> 16) & 1);
    y[i] = x[i] == x[i] ? rounded >> 16 : 0x7fc0;       // else the rounding could undo a NaN
}

// sums[c, j] = the sum of a[i, j], or of a[i, j] b[i, j], over the rows i of piece c
KERNEL column_sums(const float *a, const float *b, float *sums, int rows, int columns, int piece) {
    __shared__ float of_row[8][32];
    int column = blockIdx.x * 32 + threadIdx.x % 32, first = threadIdx.x / 32;
    Index start = blockIdx.y * (Index)piece;
    Index stop = start + piece < rows ? start + piece : rows;
    float sum = 0;
    if (column < columns)
        for (Index i = start + first; i < stop; i += 8)
            sum += b ? a[i * columns + column] * b[i * columns + column] : a[i * columns + column];
    of_row[first][threadIdx.x % 32] = sum;
    __syncthreads();
    if (first || column >= columns) return;
    for (int row = 1; row < 8; row++) sum += of_row[row][threadIdx.x];
    sums[blockIdx.y * (Index)columns + column] = sum;
}

// --- activations

__device__ float normal_cdf(float x) { return 0.5f + 0.5f * erff(x * 0.70710678f); }

__device__ float tanh_cdf(float x) {
    return 0.5f + 0.5f * tanhf(0.79788456f * (x + 0.044715f * x * x * x));
}

KERNEL gelu(const float *x, float *y, Index n) {
    Index i = element();
    if (i < n) y[i] = x[i] * normal_cdf(x[i]);
}

KERNEL gelu_backward(const float *dy, const float *x, float *dx, Index n) {
    Index i = element();
    if (i < n) dx[i] = dy[i] * (normal_cdf(x[i]) + x[i] * 0.39894228f * expf(-0.5f * x[i] * x[i]));
}

KERNEL gelu_new(const float *x, float *y, Index n) {
    Index i = element();
    if (i < n) y[i] = x[i] * tanh_cdf(x[i]);
}

KERNEL gelu_new_backward(const float *dy, const float *x, float *dx, Index n) {
    Index i = element();
    if (i >= n) return;
    float cdf = tanh_cdf(x[i]), du = 0.79788456f * (1 + 3 * 0.044715f * x[i] * x[i]);
    dx[i] = dy[i] * (cdf + x[i] * 2 * cdf * (1 - cdf) * du);
}

// --- layer normalisation

// norm(x), or norm(x + residual) where there is one. What is read again is still in the cache.
KERNEL layer_norm(const float *x, const float *residual, const float *weight, const float *bias,
                  float eps, float *x_hat, float *inv_std, float *y, int columns) {
    Index row = blockIdx.x * (Index)columns;
    auto value = [=](int j) { return residual ? x[row + j] + residual[row + j] : x[row + j]; };
    float sum = 0, squares = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) sum += value(j);
    float mean = reduce(sum, Add()) / columns;
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        squares += (value(j) - mean) * (value(j) - mean);
    float scale = 1 / sqrtf(reduce(squares, Add()) / columns + eps);
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float normal = (value(j) - mean) * scale;
        x_hat[row + j] = normal;
        y[row + j] = weight[j] * normal + bias[j];
    }
    if (threadIdx.x == 0) inv_std[blockIdx.x] = scale;
}

KERNEL layer_norm_backward(const float *dy, const float *x_hat, const float *inv_std,
                           const float *weight, float *dx, int columns) {
    Index row = blockIdx.x * (Index)columns;
    dy += row, x_hat += row, dx += row;
    float sum = 0, product = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        sum += dy[j] * weight[j];
        product += dy[j] * weight[j] * x_hat[j];
    }
    float mean = reduce(sum, Add()) / columns, mean_product = reduce(product, Add()) / columns;
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        dx[j] = (dy[j] * weight[j] - mean - x_hat[j] * mean_product) * inv_std[blockIdx.x];
}

// --- attention

// probs [B, N, Q, T]: in, the scores; out, softmax(factor scores + bias), and `dropped` what dropout
// leaves of it (the same array without dropout). bias [B, Q or 1, T]; `queries` is N Q.
KERNEL softmax(float *probs, const float *bias, float *dropped, float factor, float p, float kept,
               Bits seed, int queries, int bias_rows, int columns) {
    Index row = blockIdx.x * (Index)columns;
    bias += ((Index)(blockIdx.x / queries) * bias_rows + blockIdx.x % bias_rows) * columns;
    auto score = [=](int j) { return probs[row + j] * factor + bias[j]; };
    float largest = -3.4e38f, sum = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) largest = Larger()(largest, score(j));
    largest = reduce(largest, Larger());
    for (int j = threadIdx.x; j < columns; j += blockDim.x) sum += expf(score(j) - largest);
    sum = reduce(sum, Add());
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float share = expf(score(j) - largest) / sum;
        probs[row + j] = share;
        if (p > 0) dropped[row + j] = share * dropout_scale(p, kept, seed, row + j);
    }
}

// d_scores: in, the gradient of what dropout left; out, that of the scores before `factor`
KERNEL softmax_backward(float *d_scores, const float *probs, float factor, float p, float kept,
                        Bits seed, int columns) {
    Index row = blockIdx.x * (Index)columns;
    auto d_prob = [=](int j) {
        return d_scores[row + j] * dropout_scale(p, kept, seed, row + j);
    };
    float sum = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) sum += d_prob(j) * probs[row + j];
    sum = reduce(sum, Add());
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        d_scores[row + j] = probs[row + j] * (d_prob(j) - sum) * factor;
}

// --- loss

// probs = softmax(logits), log_probs[i] = log probs[i, targets[i]]
KERNEL cross_entropy(const float *logits, const Index *targets, float *probs, float *log_probs,
                     int columns) {
    Index row = blockIdx.x * (Index)columns;
    logits += row, probs += row;
    float largest = -3.4e38f, sum = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) largest = Larger()(largest, logits[j]);
    largest = reduce(largest, Larger());
    for (int j = threadIdx.x; j < columns; j += blockDim.x) sum += expf(logits[j] - largest);
    sum = reduce(sum, Add());
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        probs[j] = expf(logits[j] - largest) / sum;
    if (threadIdx.x == 0)
        log_probs[blockIdx.x] = logits[targets[blockIdx.x]] - largest - logf(sum);
}

// --- the embeddings' gradient: rows with the same id are added up in their order. `order` sorts the
// ids, `ids` are the sorted ones. Equal ids are a run, and a run is cut wherever a piece of so many
// places ends: nobody has to add up thousands of rows one after the other.

// sums[start] = the sum of the rows from a start to the end of the run or the piece
KERNEL sum_runs(const float *rows, const Index *order, const Index *ids, float *sums, int n,
                int columns, int piece) {
    int start = blockIdx.x, stop = start + 1;
    if (start % piece && ids[start] == ids[start - 1]) return;
    while (stop < n && stop % piece && ids[stop] == ids[start]) stop++;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float sum = 0;
        for (int i = start; i < stop; i++) sum += rows[order[i] * columns + j];
        sums[start * (Index)columns + j] = sum;
    }
}

// table[id] += the sums of all parts of its run
KERNEL add_runs(const float *sums, const Index *ids, float *table, int n, int columns, int piece) {
    int start = blockIdx.x;
    if (start && ids[start] == ids[start - 1]) return;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float sum = 0;
        for (int i = start; i < n && ids[i] == ids[start]; i = (i / piece + 1) * piece)
            sum += sums[i * (Index)columns + j];
        table[ids[start] * columns + j] += sum;
    }
}

// --- optimizer

KERNEL adam_step(const float *grad, float *m, float *v, float *update, float beta1, float rest1,
                 float beta2, float rest2, float eps, float correction1, float correction2,
                 Index n) {
    Index i = element();
    if (i >= n) return;
    m[i] = beta1 * m[i] + rest1 * grad[i];              // rest = 1 - beta
    v[i] = beta2 * v[i] + rest2 * grad[i] * grad[i];
    update[i] = m[i] / correction1 / (sqrtf(v[i] / correction2) + eps);
}
