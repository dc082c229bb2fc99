// Eight points across the lanes, over 8, in the order of their frequencies: six registers deep.
module across #(
    parameter W = 27
) (
    input clk,
    input en,
    input [16*W-1:0] x,  // real and imaginary parts in turn
    output reg [16*W-1:0] y
);
    localparam [35:0] EIGHTH = {18'd46341, -18'sd46341};
    localparam [35:0] THREE_EIGHTHS = {-18'sd46341, -18'sd46341};

    // Half sums and half differences of complex numbers.
    function [2*W-1:0] plus(input [2*W-1:0] a, input [2*W-1:0] b);
        reg signed [W:0] re, im;
        begin
            re = $signed(a[0+:W]) + $signed(b[0+:W]) + 1;
            im = $signed(a[W+:W]) + $signed(b[W+:W]) + 1;
            plus = {im[W:1], re[W:1]};
        end
    endfunction
    function [2*W-1:0] minus(input [2*W-1:0] a, input [2*W-1:0] b);
        reg signed [W:0] re, im;
        begin
            re = $signed(a[0+:W]) - $signed(b[0+:W]) + 1;
            im = $signed(a[W+:W]) - $signed(b[W+:W]) + 1;
            minus = {im[W:1], re[W:1]};
        end
    endfunction
    // Times -i.
    function [2*W-1:0] turn(input [2*W-1:0] a);
        turn = {-a[0+:W], a[W+:W]};
    endfunction

    // Sums of points four apart stand in 0..3, differences in 4..7.
    reg [2*W-1:0] half[0:7], later[0:7], latest[0:7];
    wire [2*W-1:0] d1, d3;
    rotate #(.W(W)) eighth (
        .clk(clk), .en(en), .re(half[5][0+:W]), .im(half[5][W+:W]), .root(EIGHTH), .re_out(d1[0+:W]), .im_out(d1[W+:W])
    );
    rotate #(.W(W)) three_eighths (
        .clk(clk), .en(en), .re(half[7][0+:W]), .im(half[7][W+:W]), .root(THREE_EIGHTHS),
        .re_out(d3[0+:W]), .im_out(d3[W+:W])
    );
    reg [2*W-1:0] quarter[0:7], four[0:7];
    integer i;
    always @(posedge clk)
        if (en) begin
            for (i = 0; i < 4; i = i + 1) begin
                half[i] <= plus(x[2*i*W+:2*W], x[2*(i+4)*W+:2*W]);
                half[i+4] <= minus(x[2*i*W+:2*W], x[2*(i+4)*W+:2*W]);
            end
            for (i = 0; i < 8; i = i + 1) begin
                later[i] <= half[i];
                latest[i] <= later[i];
                quarter[i] <= i == 6 ? turn(latest[i]) : latest[i];
            end
            for (i = 0; i < 8; i = i + 4) begin
                four[i] <= plus(quarter[i], quarter[i+2]);
                four[i+1] <= plus(i == 4 ? d1 : quarter[i+1], i == 4 ? d3 : quarter[i+3]);
                four[i+2] <= minus(quarter[i], quarter[i+2]);
                four[i+3] <= turn(minus(i == 4 ? d1 : quarter[i+1], i == 4 ? d3 : quarter[i+3]));
            end
            for (i = 0; i < 2; i = i + 1) begin
                y[2*i*W+:2*W] <= plus(four[4*i], four[4*i+1]);
                y[2*(i+2)*W+:2*W] <= plus(four[4*i+2], four[4*i+3]);
                y[2*(i+4)*W+:2*W] <= minus(four[4*i], four[4*i+1]);
                y[2*(i+6)*W+:2*W] <= minus(four[4*i+2], four[4*i+3]);
            end
        end
endmodule
