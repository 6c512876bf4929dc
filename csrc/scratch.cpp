#include "scratch.hpp"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace zoo {
namespace {

// What a thread keeps while no Scratch of its own lives. Pages that were never touched take no memory.
struct Kept {
    Scratch::Block block{nullptr, 0};
    ~Kept() {
        if (block.data != nullptr) munmap(block.data, block.bytes);
    }
};

thread_local Kept kept;

}  // namespace

Scratch::Scratch(std::size_t bytes) : block_(std::exchange(kept.block, Block{nullptr, 0})) {
    if (block_.bytes >= bytes) return;
    if (block_.data != nullptr) munmap(block_.data, block_.bytes);
    block_ = {nullptr, 0};
    void* fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) throw std::bad_alloc();
    block_ = {fresh, bytes};
}

Scratch::~Scratch() {
    if (block_.bytes > kept.block.bytes) std::swap(block_, kept.block);
    if (block_.data != nullptr) munmap(block_.data, block_.bytes);
}

}  // namespace zoo
