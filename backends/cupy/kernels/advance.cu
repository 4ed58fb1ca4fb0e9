// plan = plan.after(chosen): the next token of every sequence, and where it stands
//
// Must move: five numbers of a sequence, and an entry of its table.  What a captured step reads is
// written where it reads it, so that the next step can follow without the host.  A thread takes a
// sequence.

// Grid: (sequences / blockDim.x).  The table has room for the token.
extern "C" __global__ void advance(int* __restrict__ ids, int* __restrict__ positions,
                                   int* __restrict__ slots, int* __restrict__ context_lens,
                                   const int* __restrict__ tables, const int* __restrict__ chosen,
                                   int sequences, int width, int block_size) {
    int s = blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= sequences) return;
    int position = context_lens[s];
    ids[s] = chosen[s];
    positions[s] = position;
    slots[s] =
        tables[(long long)s * width + position / block_size] * block_size + position % block_size;
    context_lens[s] = position + 1;
}
