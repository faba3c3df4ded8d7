// Prints one line.
#include <iostream>

int main()
{
    std::cout << "hello" << std::endl;
    return !std::cout;
}
