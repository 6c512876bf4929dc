// Threads for CPU kernels. The number comes from the caller (torch's setting); a forked child always gets one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "streaming.hpp"

#ifdef ZOO_OPENMP
#include <omp.h>
#else
#include <atomic>
#include <exception>
#include <thread>
#include <vector>
#endif

namespace zoo {

// Registers the fork handler once. libgomp keeps a pool of threads that a forked child does not have: a region with two threads would
// wait there for ever.
void install_fork_handler() noexcept;

// How many threads a region may use: at least 1; exactly 1 in a forked child.
int usable_threads(int requested) noexcept;

constexpr bool openmp_compiled() noexcept {
#ifdef ZOO_OPENMP
    return true;
#else
    return false;
#endif
}

// Calls body(task, thread) for every task in [0, tasks); thread < usable_threads(threads). Tasks must not share output: then the result
// does not depend on the number of threads. The body must not throw. Neighbouring tasks mostly go to one thread, which then walks through
// memory in order. Without OpenMP the threads are started anew for each call; those that cannot be started leave their share to the others.
template <class Body>
void parallel_for(int threads, std::int64_t tasks, Body&& body) noexcept {
    threads = usable_threads(threads);
    if (threads < 2 || tasks < 2) {
        for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
        fence_streams();
        return;
    }
    const std::int64_t together = std::clamp<std::int64_t>(tasks / (16 * threads), 1, 64);
#ifdef ZOO_OPENMP
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic, together) nowait
        for (std::int64_t task = 0; task < tasks; ++task) body(task, thread);
        fence_streams();
    }
#else
    std::atomic<std::int64_t> next{0};
    const auto work = [&](int thread) {
        for (std::int64_t begin = next.fetch_add(together); begin < tasks; begin = next.fetch_add(together)) {
            for (std::int64_t task = begin; task < std::min(begin + together, tasks); ++task) body(task, thread);
        }
        fence_streams();
    };
    std::vector<std::thread> others;
    try {
        others.reserve(static_cast<std::size_t>(threads - 1));
        for (int thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
    } catch (const std::exception&) {  // the threads that there are do the work
    }
    work(0);
    for (std::thread& other : others) other.join();
#endif
}

}  // namespace zoo
