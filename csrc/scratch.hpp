// Memory to work in, kept by each thread for its next call: fresh pages cost more than what is done in them.
#pragma once

#include <cstddef>

namespace zoo {

class Scratch {
public:
    explicit Scratch(std::size_t bytes);  // uninitialised, aligned to a page. Throws std::bad_alloc.
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void* data() const { return block_.data; }

    struct Block {
        void* data;
        std::size_t bytes;
    };

private:
    Block block_;
};

}  // namespace zoo
