// Memory that is used again: fresh memory of tens of megabytes costs more to fault in, page by page, than to compute on.
#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <mutex>

#include "core.h"

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool CHECKED = true;  // each block by itself, so that the sanitizer sees where it ends and when it is gone
#else
constexpr bool CHECKED = false;
#endif
constexpr size_t KEPT_BYTES = CHECKED ? 0 : size_t(1) << 30;  // at most this much is kept for the next call,
constexpr size_t KEPT_BLOCKS = 256;                              // in at most so many blocks; the oldest go first
constexpr size_t HUGE_PAGE = size_t(2) << 20;
constexpr size_t ALIGNMENT = 64;

// Before the memory that is handed out. A block that is kept is in the list.
struct alignas(ALIGNMENT) Block {
  size_t bytes;  // with this header
  Block *older, *newer;
};

std::mutex mutex;
Block *newest, *oldest;
size_t kept_bytes, kept_blocks;

// A fork in the middle of a call must not leave the child with a locked mutex.
[[maybe_unused]] const int watch =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Sizes are rounded up by at most an eighth, so that blocks fit calls that differ a little.
size_t block_bytes(size_t bytes) {
  if (CHECKED) return round_up(bytes, ALIGNMENT);
  size_t step = ALIGNMENT;
  while (step * 16 <= bytes) step *= 2;
  bytes = round_up(bytes, step);
  return bytes < HUGE_PAGE ? bytes : round_up(bytes, HUGE_PAGE);
}

// Whole huge pages from the system, where the kernel has them.
void *map(size_t bytes) {
  void *got = mmap(nullptr, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  char *start = static_cast<char *>(got);
  const size_t before = round_up(size_t(start), HUGE_PAGE) - size_t(start);
  if (before) munmap(start, before);
  start += before;
  if (before < HUGE_PAGE) munmap(start + bytes, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
  madvise(start, bytes, MADV_HUGEPAGE);
#endif
  return start;
}

Block *fresh(size_t bytes) {
  void *memory = bytes < HUGE_PAGE || CHECKED ? std::aligned_alloc(ALIGNMENT, bytes) : map(bytes);
  if (memory) static_cast<Block *>(memory)->bytes = bytes;
  return static_cast<Block *>(memory);
}

void give_back(Block *block) {
  if (block->bytes < HUGE_PAGE || CHECKED)
    std::free(block);
  else
    munmap(block, block->bytes);
}

void keep(Block *block) {
  block->older = newest;
  block->newer = nullptr;
  (newest ? newest->newer : oldest) = block;
  newest = block;
  kept_bytes += block->bytes;
  ++kept_blocks;
}

void take_out(Block *block) {
  (block->newer ? block->newer->older : newest) = block->older;
  (block->older ? block->older->newer : oldest) = block->newer;
  kept_bytes -= block->bytes;
  --kept_blocks;
}

// The newest block, likely still in the cache, that is large enough and not much too large.
Block *find(size_t bytes) {
  for (Block *block = newest; block; block = block->older)
    if (block->bytes >= bytes && block->bytes <= bytes + bytes / 4) return block;
  return nullptr;
}

void shrink_to(size_t bytes, size_t blocks) {
  while (oldest && (kept_bytes > bytes || kept_blocks > blocks)) {
    Block *block = oldest;
    take_out(block);
    give_back(block);
  }
}

}  // namespace

extern "C" void *elman_allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 4) return nullptr;
  bytes = block_bytes(bytes + sizeof(Block));
  {
    const std::lock_guard<std::mutex> guard(mutex);
    if (Block *block = find(bytes)) {
      take_out(block);
      return block + 1;
    }
  }
  Block *block = fresh(bytes);
  if (!block) {
    elman_trim();
    block = fresh(bytes);
  }
  return block ? block + 1 : nullptr;
}

extern "C" void elman_release(void *memory) {
  if (!memory) return;
  Block *block = static_cast<Block *>(memory) - 1;
  if (block->bytes > KEPT_BYTES) return give_back(block);  // kept, it would only drive out all others
  const std::lock_guard<std::mutex> guard(mutex);
  keep(block);
  shrink_to(KEPT_BYTES, KEPT_BLOCKS);
}

extern "C" void elman_trim() {
  const std::lock_guard<std::mutex> guard(mutex);
  shrink_to(0, 0);
}
