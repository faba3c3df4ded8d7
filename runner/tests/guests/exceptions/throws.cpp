// C++ exceptions: unwinding, what is caught by which type, what is thrown again,
// and with any argument one that nobody catches.
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Noisy {
    std::string name;
    ~Noisy() { std::cout << "unwound " << name << '\n'; }
};

static int risky(int number)
{
    Noisy noisy{"risky " + std::to_string(number)};
    if (number > 2)
        throw std::runtime_error("too much: " + std::to_string(number));
    return number;
}

static void again(int number)
{
    auto kept = std::make_unique<Noisy>(Noisy{"kept"});
    try {
        risky(number);
    } catch (const std::exception &) {
        std::cout << "again\n";
        throw;
    }
}

int main(int argc, char **)
{
    std::cout << risky(1) << '\n';
    try {
        again(3);
    } catch (const std::logic_error &) {
        return 1;
    } catch (const std::exception &error) {
        std::cout << "caught " << error.what() << '\n';
    }
    try {
        throw 42;
    } catch (int number) {
        std::cout << "number " << number << '\n';
    }
    long long total = 0;
    for (int turn = 0; turn < 100000; turn++) {
        try {
            throw std::vector<int>(3, turn);
        } catch (const std::vector<int> &three) {
            total += three.at(2);
        }
    }
    std::cout << "total " << total << std::endl;
    if (argc > 1)
        throw std::runtime_error("nobody's");
}
