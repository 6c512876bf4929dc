#include "parallel.hpp"

#include <pthread.h>

#include <atomic>

namespace zoo {
namespace {

std::atomic<bool> in_forked_child{false};

void mark_child() { in_forked_child.store(true, std::memory_order_relaxed); }

}  // namespace

void install_fork_handler() noexcept {
    static const int registered = pthread_atfork(nullptr, nullptr, mark_child);
    static_cast<void>(registered);
}

int usable_threads(int requested) noexcept {
    if (requested < 1 || in_forked_child.load(std::memory_order_relaxed)) return 1;
    return requested;
}

}  // namespace zoo
